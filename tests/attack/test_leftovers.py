"""What a killed daemon, or a hostile hand, left in the data directory: the next start works, or says why not."""

from __future__ import annotations

import random
import subprocess
import time

import pytest

from tests.harness.daemon import BIN, Daemon, Home


def test_kill_9_at_odd_moments_of_the_start(own_home: Home) -> None:
    seed = 7
    moments = random.Random(seed)
    log = own_home.directory / "killed.log"
    argv = [str(BIN / "nexusd"), "run", "--name", "dave", "--loopback", "--no-mdns", "--log-format", "json"]
    with log.open("ab") as output:
        for _ in range(6):
            process = subprocess.Popen(
                argv, env=own_home.env, stdout=output, stderr=output, cwd=own_home.directory, start_new_session=True
            )
            time.sleep(moments.uniform(0.2, 1.2))  # not waiting for a result: the moment is the test
            assert process.poll() is None, log.read_text()
            process.kill()
            process.wait()
    with Daemon("dave", own_home) as dave:
        first = dave.peer_id
        dave.restart()
        assert dave.peer_id == first
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("name", "junk", "word"),
    [
        ("node.key", b"", "damaged"),
        ("node.key", b"\xff" * 113, "damaged"),
        ("nexusd.sqlite", b"x" * 5000, "damaged"),
    ],
    ids=["an empty key", "a key of junk", "a store of junk"],
)
def test_damage_is_told_in_a_sentence(own_home: Home, name: str, junk: bytes, word: str) -> None:
    with Daemon("dave", own_home):
        pass
    path = own_home.data_dir("dave") / name
    path.write_bytes(junk)
    done = own_home.nexusd("run", "--name", "dave", "--loopback", "--no-mdns")
    assert done.returncode == 1
    assert word in done.stderr
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert path.read_bytes() == junk, "nothing was changed"
