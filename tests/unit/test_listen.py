"""The ports: chosen once, remembered, and replaced for a run when somebody else has them."""

import json
import socket
from pathlib import Path
from random import Random

import pytest

from nexusd import listen
from nexusd.config import Config


def settings(data_dir: Path, **fields) -> Config:
    fields = {"loopback": True, **fields}
    return Config(name="alice", data_dir=data_dir, origins={"port": "flag --port"}, **fields)


def ports(addresses: list[str]) -> tuple[int, int]:
    assert [part for address in addresses for part in address.split("/")[1:4:2]] == ["ip4", "tcp"] * 2
    assert addresses[1].endswith("/ws")
    return int(addresses[0].split("/")[4]), int(addresses[1].split("/")[4])


@pytest.fixture
def taken():
    """Takes ports on loopback."""
    sockets = []

    def take(port: int = 0) -> int:
        sock = socket.socket()
        sock.bind(("127.0.0.1", port))
        sock.listen()
        sockets.append(sock)
        return sock.getsockname()[1]

    yield take
    for sock in sockets:
        sock.close()


def test_they_are_remembered(tmp_path):
    first = listen.addresses(settings(tmp_path), Random(1))
    assert listen.addresses(settings(tmp_path), Random(2)) == first
    tcp, ws = ports(first)
    assert tcp != ws
    assert all(20_000 <= port < 32_768 for port in (tcp, ws))


def test_all_interfaces_or_loopback(tmp_path):
    assert listen.addresses(settings(tmp_path), Random(1))[0].startswith("/ip4/127.0.0.1/tcp/")
    assert listen.addresses(settings(tmp_path, loopback=False), Random(1))[0].startswith("/ip4/0.0.0.0/tcp/")


def test_given_addresses_are_taken_as_they_are(tmp_path):
    assert listen.addresses(settings(tmp_path, loopback=False, listen=("/ip6/::/tcp/1",))) == ["/ip6/::/tcp/1"]
    assert list(tmp_path.iterdir()) == []


def test_a_given_port_is_tcps(tmp_path, taken):
    free = taken()
    with pytest.raises(listen.PortInUseError, match=rf"Port {free} \(flag --port\) is in use: choose another"):
        listen.addresses(settings(tmp_path, port=free))


def test_a_given_port_outlives_the_flag(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert ports(listen.addresses(settings(tmp_path, port=port), Random(1)))[0] == port
    assert ports(listen.addresses(settings(tmp_path), Random(1)))[0] == port


def test_a_port_that_was_taken_meanwhile_is_replaced_but_not_forgotten(tmp_path, taken):
    tcp, ws = ports(listen.addresses(settings(tmp_path), Random(1)))
    taken(tcp)
    other, same = ports(listen.addresses(settings(tmp_path), Random(2)))
    assert other != tcp
    assert same == ws
    assert json.loads((tmp_path / "ports").read_text()) == {"tcp": tcp, "ws": ws}


def test_a_given_port_that_is_the_remembered_websockets(tmp_path):
    tcp, ws = ports(listen.addresses(settings(tmp_path), Random(1)))
    given, other = ports(listen.addresses(settings(tmp_path, port=ws), Random(2)))
    assert given == ws
    assert other not in (ws, tcp)


def test_ports_that_are_taken_are_passed_over(tmp_path, taken):
    first = Random(7).choice(listen._RANGE)
    taken(first)
    assert first not in ports(listen.addresses(settings(tmp_path), Random(7)))


@pytest.mark.parametrize("text", ["", "{}", '{"tcp":0,"ws":70000}', '{"tcp":"x","ws":1}', "\xff", "[]"])
def test_a_damaged_memory_is_replaced(tmp_path, text):
    (tmp_path / "ports").write_bytes(text.encode("latin-1"))
    chosen = listen.addresses(settings(tmp_path), Random(1))
    assert listen.addresses(settings(tmp_path), Random(2)) == chosen


def test_no_free_port_at_all_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(listen, "_free", lambda ip, port: False)
    with pytest.raises(listen.PortInUseError, match="No free port between 20000 and 32767"):
        listen.addresses(settings(tmp_path), Random(1))
