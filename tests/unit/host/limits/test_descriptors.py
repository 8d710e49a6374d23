"""More descriptors where they may be had, and callers turned away where there are none."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from nexusd.host.limits import descriptors
from nexusd.host.limits.descriptors import Reserve, raise_limit


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"),
    [
        (1024, 20_000, 20_000),
        (1024, resource.RLIM_INFINITY, descriptors.MOST),
        (64, 64, 64),
        (1024, 1 << 20, descriptors.MOST),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, descriptors.MOST),
    ],
)
def test_the_soft_limit_is_raised(monkeypatch, soft, hard, wanted):
    now = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: now.__setitem__(slice(None), limits))
    assert raise_limit() == wanted
    assert now[1] == hard
    assert now[0] in (wanted, resource.RLIM_INFINITY)


def test_where_it_may_not_be_raised(monkeypatch):
    def refuse(*_args):
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit() == 256


def test_a_caller_is_turned_away_without_a_descriptor_to_spare():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve = Reserve()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with socket.create_connection(listener.getsockname()) as caller:
            open_now = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
            hold = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 1, limits[1]))
                with suppress(OSError):
                    while True:
                        hold.append(os.dup(0))
                with pytest.raises(OSError, match="Too many open files"):
                    listener.accept()
                assert reserve.shed(listener) == "127.0.0.1"
                assert reserve.shed(listener) is None  # nobody is left
                assert reserve._spare is not None
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for descriptor in hold:
                    os.close(descriptor)
            caller.settimeout(5)
            assert caller.recv(1) == b""
    reserve.close()
    reserve.close()
