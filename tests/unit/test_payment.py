"""Where the wallet's password comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexusd.config import load
from nexusd.payment import PASSWORD_VARIABLE, Password, password_of


def test_it_comes_from_the_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "open sesame")
    assert password_of(load({"data_dir": tmp_path})) == Password("open sesame")
    assert password_of(load({"data_dir": tmp_path})) == Password(None), "no command gets it"
    file = tmp_path / "password"
    file.write_text("from a file\r\n")
    assert password_of(load({"data_dir": tmp_path, "wallet_password_file": file})) == Password("from a file")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"\xff", "cannot be read (it is no text)"),
        (b"\n", "is empty"),
    ],
)
def test_a_file_that_holds_none_is_told_of(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    found = password_of(load({"data_dir": tmp_path, "wallet_password_file": file}))
    assert found == Password(None, f"since the wallet_password_file {file} {why}")
