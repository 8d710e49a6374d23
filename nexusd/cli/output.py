"""Printing an outcome: readable on a terminal; piped or with --json, one envelope, or JSON Lines for a stream.

    {"schemaVersion":1,"ok":true,"data":…}
    {"schemaVersion":1,"ok":false,"error":{"code","message","try","exitCode"}}

stdout is the result and stderr is for people. Peers' text in JSON is as they sent it, and what is not visible in it is
escaped: that JSON may end up on a terminal too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TextIO

import msgspec

from nexusd.cli.outcome import Answer, Incomplete, Outcome, Stream, Verbatim
from nexusd_protocols.untrusted import escaped

SCHEMA_VERSION: Final = 1


class Failure(msgspec.Struct, frozen=True, omit_defaults=True, rename={"try_": "try", "exit_code": "exitCode"}):
    """The `error` of an envelope. `data` is what belongs to it, such as the peers that an ambiguous name fits."""

    code: str
    message: str
    try_: str
    exit_code: int
    data: Any = None


class Success(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The envelope of a result."""

    schema_version: int = SCHEMA_VERSION
    ok: bool = True
    data: Any


class Refused(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The envelope of an error."""

    schema_version: int = SCHEMA_VERSION
    ok: bool = False
    error: Failure


def line_of(value: Any) -> str:
    """A line of JSON that is safe on a terminal too."""
    return escaped(msgspec.json.encode(value).decode())


@dataclass(frozen=True, slots=True)
class Printer:
    """Where results and words for people go. `json` prints results for programs; `quiet` says nothing to people."""

    out: TextIO
    err: TextIO
    json: bool
    quiet: bool = False

    def show(self, outcome: Outcome) -> None:
        """Print it; a stream as it comes."""
        match outcome:
            case Verbatim():
                self._write(outcome.text + "\n")
            case Answer():
                if self.json:
                    self._line(Success(data=outcome.data))
                else:
                    text = outcome.text(outcome.data)
                    self._write(text + "\n" if text else "")
                self.say(outcome.aside)
            case Stream():
                self._stream(outcome)

    def begun(self, outcome: Incomplete) -> None:
        """Print what came before an error; programs get it with the error."""
        if not self.json:
            self._write(outcome.text + "\n")

    def fail(self, failure: Failure) -> None:
        """Print an error; its exit code is the caller's to use."""
        if not self.quiet:  # first: whoever reads the result may be gone
            from nexusd.cli.terminal import clean

            hint = "" if failure.try_ in ("", "see the message") else f"\n  {clean(failure.try_)}"
            print(f"nexus: {clean(failure.message)}{hint}", file=self.err, flush=True)
        if self.json:
            self._line(Refused(error=failure))

    def say(self, sentence: str) -> None:
        """Tell people something that is no result."""
        if sentence and not self.quiet:
            print(sentence, file=self.err, flush=True)

    def _stream(self, outcome: Stream[Any]) -> None:
        line_is_open = False
        try:
            for item in outcome.items:
                if self.json:
                    self._line(item)
                    continue
                text = outcome.text(item)
                line_is_open = not text.endswith("\n") if text else line_is_open
                self._write(text)
                self.say(outcome.aside(item))
        except (Exception, KeyboardInterrupt):
            if line_is_open:  # what is said next would stand behind a piece of the output
                with suppress(OSError):
                    self._write("\n")
            if isinstance(outcome.items, Generator):  # now, while it can still say something
                outcome.items.close()
            raise

    def _line(self, value: Any) -> None:
        self._write(line_of(value) + "\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
