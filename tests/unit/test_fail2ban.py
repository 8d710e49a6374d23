"""contrib/fail2ban reads what the daemon really logs, in both formats, and cannot be made to read anything else."""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio

from nexusd import logs
from nexusd.host.limits.figures import Figures
from nexusd.host.limits.gate import Gate
from nexusd.services.bans import Bans
from nexusd.services.policy import Policy, TrustLists
from nexusd_protocols.identity import PeerId
from tests.harness import fail2ban
from tests.harness.network import FakeNetwork
from tests.harness.nodes import signer

FOLDER = Path(__file__).parents[2] / "contrib" / "fail2ban"
DATE = re.compile(r'^(?:\{"time": ")?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z')
"""As fail2ban makes it of `datepattern`; what it matches is taken out of the line."""
ADDR = r"(?:(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})|(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):)))"
"""As fail2ban's `IPAddr` and server/failregex.py have it."""
BANNED = ["203.0.113.7", "2001:db8::7"]
REFUSED = ["198.51.100.1", "2001:db8:1::1"]
JOURNAL = "host nexusd[4711]: "


class MemoryBans:
    async def put(self, ban: object) -> None:
        await trio.lowlevel.checkpoint()

    async def list(self) -> list[Any]:
        return []


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    yield io.StringIO()
    structlog.reset_defaults()


async def write(log: io.StringIO, fmt: str) -> list[str]:
    """What a daemon logs of bans, refusals, and of peers that would like others to be banned."""
    logs.configure(level="info", fmt=fmt, stream=log)
    alice = signer("alice").peer_id
    network = FakeNetwork(alice)
    store: Any = SimpleNamespace(bans=MemoryBans())
    bans = Bans(
        policy=Policy(TrustLists(), lambda: 1_800_000_000_000),
        network=network,
        store=store,
        emit=lambda _: None,
        clock=lambda: 1_800_000_000_000,
        resolve=PeerId,
        readmit=lambda _: None,
    )
    await bans.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(bans.run)
        for number, address in enumerate([*BANNED, ""]):
            network.convict(signer(f"mallory-{number}").peer_id, "too_many_pings", address)
        nursery.cancel_scope.cancel()
    gate = Gate(Figures(), lambda _: 0.0)
    gate.refuse("too_many_from_address", REFUSED[0])
    gate.refuse("peer_refused", REFUSED[1], signer("mallory").peer_id)
    gate.refuse("evicted", "192.0.2.99", signer("carol").peer_id)  # is no fault of carol's
    gate.refuse("silent", "")
    ours = structlog.get_logger("nexusd.test")
    for line in log.getvalue().splitlines():
        quoted = line.replace("203.0.113.7", "192.0.2.1").replace(REFUSED[0], "192.0.2.2")
        ours.info("call_answered", capability=quoted)
        ours.info("peer_seen", agent_version=f"x\n{quoted}")
        try:
            raise ValueError(f"{quoted}\n{quoted.partition('Z')[2]}\n{quoted}")
        except ValueError:
            ours.exception("handler_failed")
    return log.getvalue().splitlines()


def failregexes(mode: str) -> list[re.Pattern[str]]:
    """The expressions after fail2ban's own substitutions."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FOLDER / "filter.d" / "nexusd.conf")
    definition = {**parser["Definition"], "mode": mode, "addr": ADDR}
    text = definition["failregex"]
    for _ in range(5):
        text = re.sub(r"<(\w+)>", lambda match: definition.get(match[1].lower(), match[0]), text)
    return [re.compile(line) for line in text.splitlines() if line.strip()]


def found(lines: list[str], mode: str) -> list[str]:
    addresses = []
    for line in lines:
        for expression in failregexes(mode):
            if match := expression.search(DATE.sub("", line)):
                addresses.append(match["ip4"] or match["ip6"])
                break
    return addresses


@pytest.mark.parametrize(("mode", "expected"), [("bans", BANNED), ("refused", REFUSED), ("all", BANNED + REFUSED)])
@pytest.mark.parametrize("fmt", ["text", "json"])
async def test_the_filter_finds_whom_the_daemon_turned_away_and_nobody_else(
    log: io.StringIO, fmt: str, mode: str, expected: list[str]
) -> None:
    lines = await write(log, fmt)
    assert any("192.0.2.1" in line for line in lines), "somebody tried to have others banned"
    assert found(lines, mode) == expected
    # in the journal our time stays, behind the program's name
    assert found([JOURNAL + line for line in lines], mode) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "expected"), [("bans", BANNED), ("refused", REFUSED), ("all", BANNED + REFUSED)])
@pytest.mark.parametrize("fmt", ["text", "json"])
async def test_fail2ban_itself_agrees(
    log: io.StringIO, fmt: str, mode: str, expected: list[str], tmp_path: Path
) -> None:
    fail2ban.require()
    file = tmp_path / "nexusd.log"
    file.write_text("\n".join(await write(log, fmt)) + "\n")
    assert await fail2ban.addresses(FOLDER, file, f"nexusd[mode={mode}]") == expected


def test_the_jails_use_the_filter_in_modes_that_it_has() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FOLDER / "jail.d" / "nexusd.conf")
    assert [parser[jail]["filter"] for jail in parser.sections()] == ["nexusd[mode=bans]", "nexusd[mode=refused]"]
    for jail in parser.sections():
        mode = re.search(r"mode=(\w+)", parser[jail]["filter"])
        assert mode is not None
        assert all("<" not in each.pattern.replace("?P<", "").replace("?<=", "") for each in failregexes(mode[1]))
