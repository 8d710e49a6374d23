"""What a daemon says when it is ready."""

from nexusd.ready import ReadyInfo, announcement

INFO = {
    "peer_id": "12D3KooWAlice",
    "addresses": ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWAlice", "/ip4/127.0.0.1/tcp/4002/ws/p2p/12D3KooWAlice"],
    "data_dir": "/data/nexusd/alice",
    "socket": "/data/nexusd/alice/nexusd.sock",
    "pid": 42,
}


def test_in_the_foreground():
    assert announcement(ReadyInfo(name="default", **INFO)).splitlines() == [
        "nexusd is ready: default, process 42",
        "  peer id  12D3KooWAlice",
        "  address  /ip4/127.0.0.1/tcp/4001/p2p/12D3KooWAlice",
        "           /ip4/127.0.0.1/tcp/4002/ws/p2p/12D3KooWAlice",
        "  data     /data/nexusd/alice",
        "Try next:",
        "  nexus peers",
        "  nexus room join general",
        "  Ctrl-C stops it",
    ]


def test_detached_under_a_name():
    lines = announcement(ReadyInfo(name="alice", log="/data/nexusd/alice/nexusd.log", **INFO)).splitlines()
    assert "  log      /data/nexusd/alice/nexusd.log" in lines
    assert lines[-3:] == [
        "  nexus --name alice peers",
        "  nexus --name alice room join general",
        "  nexus --name alice stop",
    ]


def test_elsewhere_the_directory_is_named_as_a_shell_takes_it():
    info = ReadyInfo(name="alice", in_data_home=False, **{**INFO, "data_dir": "/my data/alice"})
    assert "  nexus --data-dir '/my data/alice' peers" in announcement(info).splitlines()


def test_a_locked_wallet_is_told_of_with_what_opens_it():
    lines = announcement(ReadyInfo(name="alice", wallet_locked="for want of a password", **INFO)).splitlines()
    assert (
        "  wallet   locked, for want of a password: nothing is paid or settled until `nexus --name alice wallet unlock`"
        in lines
    )
