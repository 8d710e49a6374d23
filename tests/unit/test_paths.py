"""Profiles, sockets and which of them are running."""

import os
import socket
from pathlib import Path

import pytest

from nexusd import paths


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data home of its own; the path is short enough for sockets."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return tmp_path / "nexusd"


@pytest.fixture
def listener():
    """Makes Unix sockets that listen; a directory of descriptors keeps long paths bindable."""
    opened = []

    def listen(place: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(place.parent, os.O_DIRECTORY)
        try:
            sock.bind(f"/proc/self/fd/{directory}/{place.name}")
        finally:
            os.close(directory)
        sock.listen(8)
        opened.append(sock)
        return sock

    yield listen
    for sock in opened:
        sock.close()


@pytest.mark.parametrize("name", ["default", "a", "bob-2", "A.b_c", "9" * 64])
def test_parse_name_accepts(name):
    assert paths.parse_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "_x", "bob ", "böb", "a\0b", "9" * 65, "a\n"])
def test_parse_name_refuses(name):
    with pytest.raises(ValueError, match="a profile's name is 1 to 64"):
        paths.parse_name(name)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/alice"}, "/data/nexusd/bob"),
        ({"HOME": "/home/alice"}, "/home/alice/.local/share/nexusd/bob"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/alice"}, "/home/alice/.local/share/nexusd/bob"),
        ({"XDG_DATA_HOME": "", "HOME": "/home/alice"}, "/home/alice/.local/share/nexusd/bob"),
    ],
)
def test_data_dir_of_follows_xdg(environment, expected, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert paths.data_dir_of("bob", environment) == Path(expected)


def test_data_dir_of_macos(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert paths.data_dir_of("bob", {"HOME": "/Users/alice"}) == Path(
        "/Users/alice/Library/Application Support/nexusd/bob"
    )


def test_make_private_dir_makes_it_private(tmp_path):
    paths.make_private_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_make_private_dir_closes_an_empty_one(tmp_path):
    (tmp_path / "a").mkdir(mode=0o755)
    paths.make_private_dir(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_make_private_dir_leaves_a_full_one_alone(tmp_path):
    (tmp_path / "a").mkdir(mode=0o755)
    (tmp_path / "a" / "file").touch()
    with pytest.raises(paths.UnsafePathError, match=f"chmod 700 {tmp_path}/a"):
        paths.make_private_dir(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_make_private_dir_refuses_another_users(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(paths.UnsafePathError, match="belongs to another user"):
        paths.make_private_dir(tmp_path)


def deep(parent: Path, length: int) -> Path:
    """A directory under `parent` whose socket path has exactly `length` bytes."""
    room = length - len(os.fsencode(parent)) - len(f"/{paths.SOCKET_NAME}")
    path = parent
    while room > 0:
        part = room - 1 if room <= 51 else 40
        path = path / ("d" * part)
        room -= part + 1
    path.mkdir(parents=True)
    path.chmod(0o700)
    return path


@pytest.fixture
def short_tmp():
    """A directory of a short name, so that lengths up to 100 can be made on top of it."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="nx", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("length", [60, 99, 100])
def test_socket_stays_in_the_data_directory_up_to_100_bytes(short_tmp, length):
    data_dir = deep(short_tmp, length)
    place = paths.place_socket(data_dir, {})
    assert len(os.fsencode(place)) == length
    assert place == data_dir / "nexusd.sock" == paths.socket_of(data_dir)
    assert not (data_dir / "socket").exists()


@pytest.mark.parametrize("length", [101, 108, 200, 400])
def test_a_long_socket_moves_to_the_runtime_directory(short_tmp, length, listener):
    data_dir = deep(short_tmp, length)
    runtime = short_tmp / "run"
    runtime.mkdir(mode=0o700)
    place = paths.place_socket(data_dir, {"XDG_RUNTIME_DIR": str(runtime)})
    assert place.parent.parent == runtime
    assert len(os.fsencode(place)) <= paths.MAX_SOCKET_BYTES
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert (data_dir / "socket").read_text() == f"{place}\n"
    assert paths.socket_of(data_dir) == place, "a client finds it without the daemon's environment"
    listener(place)
    assert paths.answers(place)


def test_without_a_runtime_directory_it_moves_to_a_private_one(short_tmp):
    data_dir = deep(short_tmp, 150)
    place = paths.place_socket(data_dir, {})
    try:
        assert place.parts[:3] == ("/", "tmp", f"nexusd-{os.geteuid()}")
        for directory in (place.parent, place.parent.parent):
            assert directory.stat().st_mode & 0o777 == 0o700
        assert paths.socket_of(data_dir) == place
    finally:
        place.parent.rmdir()


def test_two_long_directories_do_not_share_a_socket(short_tmp):
    environment = {"XDG_RUNTIME_DIR": str(short_tmp)}
    places = {paths.place_socket(deep(short_tmp / name, 150), environment) for name in ("alice", "bob")}
    assert len(places) == 2


def test_a_runtime_directory_that_others_can_enter_is_refused(short_tmp):
    data_dir = deep(short_tmp, 150)
    place = paths.place_socket(data_dir, {"XDG_RUNTIME_DIR": str(short_tmp)})
    place.parent.chmod(0o755)
    with pytest.raises(paths.UnsafePathError, match="not a private directory"):
        paths.place_socket(data_dir, {"XDG_RUNTIME_DIR": str(short_tmp)})
    with pytest.raises(paths.UnsafePathError, match="not a private directory"):
        paths.socket_of(data_dir)


def test_mallorys_symlink_for_the_socket_directory_is_refused(short_tmp):
    data_dir = deep(short_tmp, 150)
    place = paths.place_socket(data_dir, {"XDG_RUNTIME_DIR": str(short_tmp)})
    place.parent.rmdir()
    (short_tmp / "mallory").mkdir(mode=0o700)
    place.parent.symlink_to(short_tmp / "mallory")
    with pytest.raises(paths.UnsafePathError):
        paths.socket_of(data_dir)


@pytest.mark.parametrize("text", ["", "relative/nexusd.sock", "/etc/passwd", "\0"])
def test_a_damaged_pointer_is_refused(tmp_path, text):
    (tmp_path / "socket").write_text(text)
    with pytest.raises(paths.UnsafePathError, match="does not name a socket"):
        paths.socket_of(tmp_path)


def test_a_directory_that_became_short_loses_its_pointer(short_tmp):
    (short_tmp / "socket").write_text("/somewhere/nexusd.sock\n")
    assert paths.place_socket(short_tmp, {}) == short_tmp / "nexusd.sock"
    assert not (short_tmp / "socket").exists()


def test_running_lists_those_that_answer(home, listener):
    for name in ("carol", "alice", "bob"):
        (home / name).mkdir(parents=True, mode=0o700)
    listener(home / "carol" / "nexusd.sock")
    listener(home / "alice" / "nexusd.sock")
    assert paths.running() == [
        paths.Running("alice", home / "alice", home / "alice" / "nexusd.sock"),
        paths.Running("carol", home / "carol", home / "carol" / "nexusd.sock"),
    ]


def test_running_passes_over_what_does_not_answer(home, listener):
    for name in ("stale", "file", "empty", "bad name", "unsafe"):
        (home / name).mkdir(parents=True, mode=0o700)
    listener(home / "stale" / "nexusd.sock").close()
    assert (home / "stale" / "nexusd.sock").exists()
    (home / "file" / "nexusd.sock").touch()
    (home / "unsafe" / "socket").write_text("nonsense")
    listener(home / "bad name" / "nexusd.sock")
    (home / "stray").touch()
    assert paths.running() == []


def test_running_counts_a_daemon_whose_backlog_is_full(home):
    (home / "alice").mkdir(parents=True, mode=0o700)
    place = home / "alice" / "nexusd.sock"
    waiting = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        directory = os.open(place.parent, os.O_DIRECTORY)
        busy.bind(f"/proc/self/fd/{directory}/{place.name}")
        os.close(directory)
        busy.listen(0)
        try:
            for _ in range(4):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                sock.setblocking(False)
                waiting.append(sock)
                if sock.connect_ex(os.fspath(place)) != 0:
                    break
            else:
                pytest.skip("this kernel's backlog has no bound")
            assert [one.name for one in paths.running()] == ["alice"]
        finally:
            for sock in waiting:
                sock.close()


def test_running_without_a_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    assert paths.running() == []
