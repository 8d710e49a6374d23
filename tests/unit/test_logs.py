"""The log: levels, forms, secrets, control characters, foreign records and the bound on the file."""

import io
import json
import logging
import stat

import pytest
import structlog

from nexusd import logs


@pytest.fixture(autouse=True)
def restore():
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.lastResort, logging.raiseExceptions)
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], logging.lastResort, logging.raiseExceptions = before[0], before[2], before[3]
    root.setLevel(before[1])
    structlog.reset_defaults()


def written(fmt="text", level="info"):
    stream = io.StringIO()
    logs.configure(level=level, fmt=fmt, stream=stream)
    return stream


def test_text():
    stream = written()
    structlog.get_logger("nexusd.test").info("peer connected", peer="12D3", address="/ip4/1.2.3.4", n=3, said="a b")
    at, _, rest = stream.getvalue().partition(" ")
    assert at.endswith("Z")
    assert len(at) == len("2026-11-20T12:00:00.000Z")
    assert rest == 'info    peer connected peer=12D3 address=/ip4/1.2.3.4 n=3 said="a b" logger=nexusd.test\n'


def test_json():
    stream = written("json")
    structlog.get_logger("nexusd.test").warning("peer connected", peer="12D3", odd=object)
    line = json.loads(stream.getvalue())
    assert list(line)[:3] == ["time", "level", "event"]
    assert (line["level"], line["event"], line["peer"], line["logger"]) == (
        "warning",
        "peer connected",
        "12D3",
        "nexusd.test",
    )


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels(level, count):
    stream = written(level=level)
    log = structlog.get_logger("nexusd.test")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("said")
    assert stream.getvalue().count("said") == count


def test_a_logger_made_before_is_configured_too():
    log = structlog.get_logger("nexusd.test")
    stream = written()
    log.info("said")
    assert "said" in stream.getvalue()


def test_an_exception_comes_with_its_traceback():
    for fmt in ("text", "json"):
        stream = written(fmt)
        try:
            raise ValueError("bad \x1b[31m input")
        except ValueError:
            structlog.get_logger("nexusd.test").exception("failed")
        assert "Traceback" in stream.getvalue()
        assert "ValueError" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("fmt", ["text", "json"])
@pytest.mark.parametrize("nasty", ["\x1b]0;title\x07", "a\nb", "a\rb", "\x9b31m", "\u202eevil", "\x00"])
def test_what_peers_say_cannot_forge_a_line(fmt, nasty):
    stream = written(fmt)
    structlog.get_logger("nexusd.test").info(f"said {nasty}", name=nasty)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.removesuffix("\n").isprintable()


@pytest.mark.parametrize("fmt", ["text", "json"])
@pytest.mark.parametrize("key", ["seed", "key", "api_key", "private_key", "Authorization", "token", "session_token"])
def test_secrets_are_not_written(fmt, key):
    stream = written(fmt)
    structlog.get_logger("nexusd.test").info("said", **{key: "hunter2"})
    assert "hunter2" not in stream.getvalue()
    assert "redacted" in stream.getvalue()


def test_bytes_are_counted_not_shown():
    stream = written()
    structlog.get_logger("nexusd.test").info("said", data=b"hunter2")
    assert "hunter2" not in stream.getvalue()
    assert "[7 bytes]" in stream.getvalue()


def test_libraries_show_at_debug_only_unless_critical():
    stream = written()
    for library in (logging.getLogger("somelib.part"), logging.getLogger()):
        library.error("ordinary on an open network")
        library.critical("the end")
    assert "ordinary" not in stream.getvalue()
    assert stream.getvalue().count("the end") == 2
    stream = written(level="debug")
    logging.getLogger("somelib.part").error("ordinary %s", "thing")
    assert "ordinary thing" in stream.getvalue()
    assert "error" in stream.getvalue()


def test_a_logger_cut_off_from_the_root_does_not_write_raw(capsys):
    stream = written()
    cut = logging.getLogger("cutoff")
    cut.propagate = False
    try:
        cut.error("noise")
        cut.critical("the end")
    finally:
        cut.propagate = True
    assert capsys.readouterr() == ("", "")
    assert "noise" not in stream.getvalue()
    assert "the end" in stream.getvalue()


@pytest.mark.slow
def test_importing_libp2p_afterwards_neither_prints_nor_takes_over():
    import subprocess
    import sys

    script = (
        "from nexusd import logs; logs.configure(level='info', fmt='json')\n"
        "import libp2p, logging, structlog\n"
        "logging.getLogger('libp2p.swarm').error('noise')\n"
        "logging.error('noise')\n"
        "structlog.get_logger('nexusd.x').info('ours')\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["ours"]


def test_the_file_is_private_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 2000)
    path = tmp_path / "nexusd.log"
    logs.configure(level="info", fmt="text", file=path)
    log = structlog.get_logger("nexusd.test")
    for number in range(200):
        log.info("said", number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["nexusd.log", "nexusd.log.1", "nexusd.log.2"]
    assert all(file.stat().st_size <= 2000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert "number=199" in path.read_text()


def test_the_file_is_appended_to(tmp_path):
    path = tmp_path / "nexusd.log"
    for word in ("first", "second"):
        logs.configure(level="info", fmt="text", file=path)
        structlog.get_logger("nexusd.test").info(word)
    assert [line.split()[2] for line in path.read_text().splitlines()] == ["first", "second"]


def test_a_symbolic_link_is_not_written_through(tmp_path):
    (tmp_path / "nexusd.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        logs.configure(level="info", fmt="text", file=tmp_path / "nexusd.log")
    assert not (tmp_path / "victim").exists()
