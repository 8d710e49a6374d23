"""A door over fake services for every test that asks for one."""

from tests.harness.door import door, path

__all__ = ["door", "path"]
