"""`nexus`: the entry point, the table of commands, and how a run ends.

Exit codes: 0 done, 1 refused or wrong use, 2 cannot reach. Ctrl-C and a reader that went away are quiet, unless
something is signed for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App

from nexusd import __version__
from nexusd.cli import options as options_
from nexusd.cli import usage
from nexusd.cli.options import Options
from nexusd.cli.outcome import Answer, Incomplete, Stream, Verbatim
from nexusd.cli.output import Failure, Printer
from nexusd.cli.session import Session, use

# where each command lives, its summary and an example: a module is imported when one of its commands is used
COMMANDS: Final = {
    "status": ("node:status", "What this daemon is and does.", "nexus status"),
    "peers": ("peers:app", "Peers: list, ban, block; and the other way.", ""),
    "connect": ("node:connect", "Dial an address.", "nexus connect /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…"),
    "room": ("rooms:app", "Public rooms: join, say, read, watch.", ""),
    "dm": ("messages:app", "Direct messages: send, read, watch.", ""),
    "profile": ("profile:app", "What this agent tells others of itself.", ""),
    "capability": ("capabilities:app", "Capabilities: serve, list, remove.", ""),
    "find": ("find:app", "Find agents, rooms and capabilities.", ""),
    "invoke": ("invoke:invoke", "Call a capability.", 'nexus invoke 9fKq2LmX upper "make me loud"'),
    "wallet": ("wallet:app", "The wallet: make, import, show, open, back up.", ""),
    "pay": ("pay:app", "Payments: policy, approvals, history, receipts, settlement.", ""),
    "content": ("content:app", "Content by its CID: put, get, keep, remove.", ""),
    "storage": ("content:storage", "What the disk is used for.", "nexus storage"),
    "events": ("events:events", "Print what happens, as it happens.", "nexus events --kinds room,dm --cursor 120"),
    "config": ("settings:app", "Settings of the daemon.", ""),
    "rpc": (
        "node:rpc",
        "Call any method of the socket.",
        'nexus rpc room.send \'{"room": "general", "content": "hi"}\'',
    ),
    "metrics": ("node:metrics", "Print the figures of this daemon, for Prometheus.", "nexus metrics"),
    "stop": ("node:stop", "Drain and stop the daemon.", "nexus stop"),
    "completion": (
        "completion:completion",
        "Print the completion script of a shell.",
        "nexus completion bash >> ~/.bash_completion",
    ),
    "version": ("node:version", "Print the version.", "nexus version"),
}


def build() -> App:
    """The table as a cyclopts application."""
    app = App(
        suppress_keyboard_interrupt=False,  # the exit code is ours to choose
        name="nexus",
        help="Talk to the nexus daemon of this host (`nexusd run --detach` starts one): rooms, messages, capabilities.",
        version=f"nexus {__version__}",
        help_format="plaintext",
        help_epilogue=options_.HELP,
    )
    for name, (place, summary, example) in COMMANDS.items():
        if place.endswith(":app"):
            app.command(f"nexusd.cli.{place}", name=name, help=summary)
        else:
            text = f"{summary}\n\nExample: {example}"
            app.command(f"nexusd.cli.{place}", name=name, help=text, help_format="plaintext")
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run a command line on the process's own streams. Returns the exit code."""
    try:
        options, rest = options_.split(argv)
    except usage.UsageError as error:
        options = Options(json="--json" in argv)
        return _fail(_printer(options), _usage_failure(error))
    printer = _printer(options)
    try:
        with use(Session(options)):
            return _run(rest, printer)
    except BrokenPipeError:
        usage.silence(sys.stdout)
        return 0
    except KeyboardInterrupt:
        return 1


def _run(rest: Sequence[str], printer: Printer) -> int:
    try:
        outcome = usage.run(build(), rest)
        if isinstance(outcome, Answer | Stream | Verbatim):
            _show(outcome, printer)
        if isinstance(outcome, Incomplete):
            printer.begun(outcome)
            raise outcome.error
        if isinstance(outcome, Answer):
            return outcome.exit_code
    except usage.UsageError as error:
        return _fail(printer, _usage_failure(error))
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        failure = _failure(error)
        if failure is None:
            raise
        return _fail(printer, failure)
    return 0


def _show(outcome: Answer[object] | Stream[object] | Verbatim, printer: Printer) -> None:
    try:
        printer.show(outcome)
    except KeyboardInterrupt:
        if not (isinstance(outcome, Stream) and outcome.open_ended):
            raise


def _printer(options: Options) -> Printer:
    return Printer(sys.stdout, sys.stderr, json=options.json or not sys.stdout.isatty(), quiet=options.json)


def _usage_failure(error: usage.UsageError) -> Failure:
    return Failure(code="usage", message=str(error).replace(options_.STDIN, "-"), try_=error.try_, exit_code=1)


def _failure(error: Exception) -> Failure | None:
    """The error as the user is told it; None for a bug, whose traceback is what helps."""
    from nexusd.client.errors import NexusError

    if isinstance(error, NexusError):
        return Failure(error.code, error.message, error.try_, error.exit_code, error.data)
    # the usual errors came first: this import is slow
    from nexusd.config import ConfigError
    from nexusd.paths import UnsafePathError

    if isinstance(error, ConfigError):
        return Failure("invalid_config", str(error), "", 1)
    if isinstance(error, UnsafePathError):
        return Failure("unsafe_path", str(error), "", 1)
    return None


def _fail(printer: Printer, failure: Failure) -> int:
    printer.fail(failure)
    return failure.exit_code
