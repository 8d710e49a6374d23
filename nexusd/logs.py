"""The daemon's log: text or JSON lines on stderr, or in a file of bounded size when nobody watches.

Configure it before libp2p is imported: that library installs a handler of its own on the root logger if it finds none.
Libraries report as errors what is ordinary on an open network, so their records show at level debug only, unless they
are critical. Values under secret-looking keys are never written, and control characters, which peers can put into
what is logged, are escaped.
"""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

FILE_NAME: Final = "nexusd.log"
MAX_FILE_BYTES: Final = 5 << 20
"""With `OLD_FILES` of the same size a log takes 15 MiB at most."""
OLD_FILES: Final = 2

_SECRET: Final = re.compile(r"(^|_)(seed|secret|token|password|passphrase|authorization|key|api_key|private_key)$")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@+,%-]+", re.ASCII)
_OURS: Final = ("nexusd", "nexusd_bootstrap", "nexusd_protocols")

EventDict = MutableMapping[str, Any]


class LogFile(logging.handlers.RotatingFileHandler):
    """A file that only its owner reads, renamed to .1 and .2 as it fills."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", errors="replace")

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        return io.TextIOWrapper(io.FileIO(descriptor, "a"), encoding="utf-8", errors="replace", line_buffering=True)


def configure(*, level: str, fmt: str, file: Path | None = None, stream: TextIO | None = None) -> None:
    """Send the log to `file`, or to `stream` (stderr). `level` is debug, info, warning or error; `fmt` text or json."""
    threshold = getattr(logging, level.upper())
    handler: logging.Handler = LogFile(file) if file else logging.StreamHandler(stream or sys.stderr)
    render = _render_json if fmt == "json" else _render_text
    shared: list[structlog.typing.Processor] = [
        _add_origin,
        structlog.stdlib.add_log_level,
        _add_time,
        structlog.processors.format_exc_info,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redact, render],
        )
    )
    handler.setLevel(threshold)
    handler.addFilter(_Foreign(threshold))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(threshold)
    # importing libp2p cuts its logger off from the root; what then finds no handler comes here instead of raw to stderr
    logging.lastResort = handler
    logging.raiseExceptions = False  # a full disk must not turn each log line into a traceback on stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Foreign(logging.Filter):
    """Lets a library's records through at level debug, and its critical ones always."""

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self._all = threshold <= logging.DEBUG

    def filter(self, record: logging.LogRecord) -> bool:
        ours = record.name.partition(".")[0] in _OURS
        return ours or self._all or record.levelno >= logging.CRITICAL


def _add_origin(_logger: Any, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = record.name if record is not None else getattr(_logger, "name", None)
    if name:
        event.setdefault("logger", name)
    return event


def _add_time(_logger: Any, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    at = datetime.fromtimestamp(record.created, UTC) if record is not None else datetime.now(UTC)
    event["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if _SECRET.search(key.lower()):
            event[key] = "[redacted]"
        elif isinstance(value, bytes | bytearray):
            event[key] = f"[{len(value)} bytes]"
    return event


def _render_json(_logger: Any, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
    return json.dumps({**first, **event}, default=repr, ensure_ascii=True)


def _render_text(_logger: Any, _method: str, event: EventDict) -> str:
    exception = event.pop("exception", "")
    at, level, said = event.pop("time"), event.pop("level"), event.pop("event")
    pairs = "".join(f" {key}={_value(value)}" for key, value in event.items())
    line = f"{at} {level:<7} {_escape(str(said))}{pairs}"
    # each line of a traceback is escaped by itself: it may quote what a peer sent
    return line + "".join(f"\n  {_escape(row)}" for row in str(exception).splitlines())


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return (
        text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)
    )


def _escape(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
