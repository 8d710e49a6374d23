"""A port that another program holds, in whatever way: the daemon says so and does not start, rather than share it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness.daemon import Home


@contextmanager
def holder(ip: str, *, share: bool = False, dual: bool = False) -> Iterator[int]:
    """Somebody else's listener: `share` is SO_REUSEPORT, as stock py-libp2p binds; `dual` takes IPv4 on IPv6 too."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual))
        other.bind((ip, 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("held", "options", "wanted"),
    [
        ("127.0.0.1", {"share": True}, "/ip4/127.0.0.1"),
        ("0.0.0.0", {"share": True}, "/ip4/127.0.0.1"),
        ("127.0.0.1", {"share": True}, "/ip4/0.0.0.0"),
        ("127.0.0.1", {}, "/ip4/127.0.0.1"),
        ("::", {"share": True, "dual": True}, "/ip4/127.0.0.1"),
        ("::1", {"share": True}, "/ip6/::1"),
        ("::1", {}, "/ip6/::"),
    ],
)
def test_a_port_that_somebody_holds(own_home: Home, held: str, options: dict, wanted: str) -> None:
    if ":" in held and not socket.has_ipv6:
        pytest.skip("this host has no IPv6")
    with holder(held, **options) as port:
        listen = f"{wanted}/tcp/{port}/ws" if options.get("dual") else f"{wanted}/tcp/{port}"
        done = own_home.run(["nexusd", "run", "--listen", listen])
    assert done.returncode == 1
    ip = wanted.split("/")[2]
    assert f"Port {port} on {ip} is in use by another program: choose another port, or stop that program" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_port_of_a_user_who_shares_it(own_home: Home) -> None:
    with holder("0.0.0.0", share=True) as port:
        done = own_home.run(["nexusd", "run", "--port", str(port)])
    assert done.returncode == 1
    assert f"Port {port} (flag --port) is in use" in done.stderr
