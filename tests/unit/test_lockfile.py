"""One daemon a data directory, whatever way the last one ended."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from nexusd import lockfile


def test_the_second_is_refused_and_learns_who_has_it(tmp_path):
    with lockfile.hold(tmp_path):
        with pytest.raises(lockfile.AlreadyRunning) as caught, lockfile.hold(tmp_path):
            pass
        assert caught.value.pid == os.getpid()
        assert caught.value.data_dir == tmp_path
        assert str(os.getpid()) in str(caught.value)
        assert "nexus --data-dir" in str(caught.value)
    with lockfile.hold(tmp_path):
        pass


def test_holder_is_known_while_it_holds(tmp_path):
    assert lockfile.holder(tmp_path) is None
    with lockfile.hold(tmp_path):
        assert lockfile.holder(tmp_path) == os.getpid()
    assert lockfile.holder(tmp_path) is None


def test_an_error_inside_releases_it(tmp_path):
    with pytest.raises(RuntimeError), lockfile.hold(tmp_path):
        raise RuntimeError
    assert lockfile.holder(tmp_path) is None
    with lockfile.hold(tmp_path):
        pass


def test_the_file_is_private_and_stays(tmp_path):
    with lockfile.hold(tmp_path):
        pass
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_without_a_pid_says_so(tmp_path):
    with lockfile.hold(tmp_path):
        (tmp_path / "lock").write_text("nonsense")
        with pytest.raises(lockfile.AlreadyRunning, match="as another process") as caught, lockfile.hold(tmp_path):
            pass
        assert caught.value.pid is None


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"), lockfile.hold(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()


def test_kill_9_releases_it_and_a_child_does_not_keep_it(tmp_path):
    script = textwrap.dedent(
        """
        import pathlib, subprocess, sys
        from nexusd import lockfile
        with lockfile.hold(pathlib.Path(sys.argv[1])):
            child = subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL)
            print(child.pid, flush=True)
            sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        child = int(daemon.stdout.readline())
        try:
            with pytest.raises(lockfile.AlreadyRunning) as caught, lockfile.hold(tmp_path):
                pass
            assert caught.value.pid == daemon.pid
            daemon.send_signal(signal.SIGKILL)
            daemon.wait(10)
            with lockfile.hold(tmp_path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
