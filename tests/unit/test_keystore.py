"""The key file: made once, stable, private, and refused whenever it is not."""

import base64
import os
import stat

import pytest

from nexusd import keystore
from nexusd_protocols.identity import Signer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "node.key"


def names(path):
    return [entry.name for entry in path.parent.iterdir()]


def test_a_new_key_is_private_and_stays_the_same(path):
    alice = keystore.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keystore.load_or_create(path).peer_id == alice.peer_id
    assert keystore.load(path).seed() == alice.seed()
    assert names(path) == ["node.key"], "no temporary file stays"


def test_two_keys_differ(tmp_path):
    alice, bob = (keystore.load_or_create(tmp_path / name) for name in ("alice", "bob"))
    assert alice.peer_id != bob.peer_id


def test_the_format_is_the_documented_one(path):
    seed = bytes(range(32))
    path.write_text(f"nexusd-ed25519 {base64.b64encode(seed).decode()} {Signer(seed).peer_id}\n")
    path.chmod(0o600)
    assert keystore.load(path).seed() == seed


def test_the_mode_does_not_depend_on_the_umask(path):
    before = os.umask(0)
    try:
        keystore.load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_that_others_can_read_is_refused(path, mode):
    keystore.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(keystore.KeyFileError, match=f"chmod 600 {path}"):
        keystore.load_or_create(path)
    path.chmod(0o600)
    keystore.load_or_create(path)


def test_another_users_key_is_refused(path, monkeypatch):
    keystore.load_or_create(path)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(keystore.KeyFileError, match="belongs to another user"):
        keystore.load(path)


def test_a_symbolic_link_is_refused(path, tmp_path):
    keystore.load_or_create(tmp_path / "real")
    path.symlink_to(tmp_path / "real")
    with pytest.raises(keystore.KeyFileError, match="symbolic link"):
        keystore.load_or_create(path)


def test_a_dangling_symbolic_link_is_refused(path, tmp_path):
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(keystore.KeyFileError, match="symbolic link"):
        keystore.load_or_create(path)
    assert not (tmp_path / "nowhere").exists()


def test_a_fifo_neither_hangs_nor_passes(path):
    os.mkfifo(path, 0o600)
    with pytest.raises(keystore.KeyFileError, match="not a regular file"):
        keystore.load_or_create(path)


def test_a_directory_is_refused(path):
    path.mkdir(mode=0o700)
    with pytest.raises(keystore.KeyFileError):
        keystore.load_or_create(path)


GOOD = f"nexusd-ed25519 {base64.b64encode(bytes(32)).decode()} {Signer(bytes(32)).peer_id}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "nexusd-ed25519",
        GOOD.replace("nexusd-ed25519", "nexusd-rsa"),
        GOOD.replace(" AAAA", " AAAB"),  # one bit of the seed: another identity
        GOOD.replace(" AAAA", " AA!A"),
        GOOD.replace("=", ""),
        GOOD[:-1],
        GOOD + " more",
        GOOD + "\n" + "x" * 2000,
        "nexusd-ed25519 " + base64.b64encode(bytes(31)).decode() + " " + str(Signer(bytes(32)).peer_id),
    ],
)
def test_a_damaged_key_is_refused_and_left_alone(path, text):
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(keystore.KeyFileError, match="is damaged"):
        keystore.load_or_create(path)
    assert path.read_text() == text


def test_bytes_that_are_no_text_are_refused(path):
    path.write_bytes(os.urandom(64))
    path.chmod(0o600)
    with pytest.raises(keystore.KeyFileError, match="is damaged"):
        keystore.load(path)


def test_a_leftover_of_a_crash_does_not_hinder(path):
    path.with_name(".node.key.new").write_text("half")
    keystore.load_or_create(path)
    assert names(path) == ["node.key"]


def test_a_full_disk_leaves_nothing_half(path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(keystore.KeyFileError, match="No space left on device"):
        keystore.load_or_create(path)
    assert names(path) == []


def test_the_error_never_holds_the_key(path):
    path.write_text(GOOD.replace("12D3", "12D4"))
    path.chmod(0o600)
    with pytest.raises(keystore.KeyFileError) as caught:
        keystore.load(path)
    assert base64.b64encode(bytes(32)).decode() not in str(caught.value)
