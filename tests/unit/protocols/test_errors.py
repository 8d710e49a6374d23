"""Errors by blame."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import LocalProtocolError, ProtocolError, RemoteProtocolError


def test_blame_tells_them_apart():
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)


@pytest.mark.parametrize(("detail", "text"), [("", "bad_json"), ("at byte 7", "bad_json: at byte 7")])
def test_a_remote_error_says_what_happened(detail, text):
    error = RemoteProtocolError("bad_json", detail)
    assert str(error) == text
    assert (error.code, error.detail, error.reply, error.penalty) == ("bad_json", detail, b"", 1)


def test_a_remote_error_carries_answer_and_penalty():
    error = RemoteProtocolError("too_deep", reply=b"{}\n", penalty=10)
    assert (error.reply, error.penalty) == (b"{}\n", 10)
