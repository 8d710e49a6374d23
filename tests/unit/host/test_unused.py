"""What a daemon does not load, in processes of their own."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_daemon_loads_neither_other_transports_nor_what_they_bring_along():
    code = """
import sys
from nexusd.host import unused
unused.leave_out()
import nexusd.app
loaded = {"aioquic", "requests", "trio_websocket", "wsproto", "OpenSSL"} & set(sys.modules)
assert not loaded, loaded
real = [name for name in unused.UNUSED if name in sys.modules and getattr(sys.modules[name], "__file__", None)]
assert not real, real
"""
    run(code)


@pytest.mark.slow
def test_what_is_left_out_can_be_named_and_caught_but_not_made():
    code = """
from nexusd.host import unused
unused.leave_out()
from libp2p.transport.quic.connection import QUICConnection
from libp2p.transport.quic.connection import QUICConnection as again
assert again is QUICConnection
assert not isinstance(1, QUICConnection)
try:
    raise ValueError
except QUICConnection:
    raise
except ValueError:
    pass
try:
    QUICConnection(1, name=2)
except RuntimeError as error:
    print(error)
"""
    assert "libp2p.transport.quic.connection.QUICConnection is not loaded" in run(code)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "import libp2p\n"])
def test_whoever_has_loaded_libp2p_before_has_all_of_it(first):
    code = f"""
{first}from nexusd.host import unused
unused.leave_out()
import libp2p.transport.quic.connection as quic
print(getattr(quic, "__file__", None) is not None)
"""
    assert run(code).strip() == str(bool(first))
