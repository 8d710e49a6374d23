"""kill -9 of a real process that prints what was acknowledged to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nexusd.store import Store
from tests.harness.examples import first
from tests.unit.store.people import ALICE

WRITER = """
import sys
from pathlib import Path
import trio
from nexusd.store import Store
from tests.unit.store.people import ALICE, BOB

async def write(store, first):
    for number in range(first, 1_000_000, 8):
        await store.inbox.receive(
            ALICE, peer=BOB, message_id=f"d{number}", content="x" * 500, format="text/plain", now=number)
        sys.stdout.write(f"d{number}\\n")
        sys.stdout.flush()

async def main():
    async with Store.open(Path(sys.argv[1])) as store, trio.open_nursery() as nursery:
        for first in range(8):
            nursery.start_soon(write, store, int(sys.argv[2]) + first)

trio.run(main)
"""


def written_until_killed(path: Path, first: int, lines: int) -> set[str]:
    """What a writer printed before it was killed, some time after that many lines."""
    command = [sys.executable, "-c", WRITER, str(path), str(first)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."}, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        printed = [output.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        printed += output.readlines()
    assert process.wait(30) == -signal.SIGKILL
    return {line.strip() for line in printed if line.endswith("\n")}


@pytest.mark.parametrize("lines", first(1, [40, 1, 200]))
async def test_nothing_that_was_acknowledged_before_a_kill_is_lost(tmp_path, lines) -> None:
    path = tmp_path / "store.sqlite"
    acknowledged: set[str] = set()
    for cycle in range(2):
        acknowledged |= written_until_killed(path, cycle * 500_000, lines)
    assert len(acknowledged) >= 2 * lines
    async with Store.open(path) as store:
        assert await store.database.integrity() == []
        found, after = set(), 0
        while page := (await store.inbox.list(ALICE, after=after, limit=500)).rows:
            found |= {row.message_id for row in page}
            after = page[-1].position
        assert acknowledged <= found
        assert await store.events.newest() == len(found)
