"""capability: what this daemon serves, and what others do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nexusd.cli import summaries
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import clean, short, size, table
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.schema import Capability, CapabilityList, CommandSpec, Done, OpenAiSpec, PriceSpec

app = App(name="capability", help="Capabilities: serve, list, remove.", help_format="plaintext")

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


@app.command(help=summaries.of("capability.serve", "nexus capability serve upper -- tr a-z A-Z"))
def serve(
    name: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=False)],
    jsonl: Flag = False,
    openai: str | None = None,
    model: str | None = None,
    api_key_env: str | None = None,
    description: str = "",
    max_concurrent: int = 4,
    timeout: Annotated[float, Parameter(show_default=True)] = 600.0,
    max_input: int | None = None,
    price: str | None = None,
    network: str | None = None,
    asset: str | None = None,
    pay_to: str | None = None,
    tab: Flag = False,
    tab_cap: str | None = None,
) -> Answer[Capability]:
    """Serve, also after a restart.

    Parameters
    ----------
    name
        Name that others call.
    command
        Behind `--`: what to run for each call, in this directory and without a shell. Input comes on stdin.
    jsonl
        Each line of the command's output is one event, sent as it appears.
    openai
        Instead of a command: base URL of an OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1.
    model
        Model to ask that endpoint for.
    api_key_env
        Name of the daemon's environment variable that holds the endpoint's key.
    description
        What it does, for others to read.
    max_concurrent
        Calls at once; four times as many may wait, further ones are refused as busy.
    timeout
        Seconds that a call may take, waiting included.
    max_input
        Bytes of input that a call may have (default: 1048576).
    price
        What a call costs, in whole tokens, such as 0.10; for 0 each peer has `free_calls` an hour. Without it, nothing.
    network
        Where it is paid: base (default), base-sepolia, ethereum, polygon.
    asset
        The token (default: USDC).
    pay_to
        Address that is paid (default: this daemon's wallet).
    tab
        The price is for each piece of output, and is paid as they come.
    tab_cap
        What one such call may cost at most (default: 1).
    """
    if bool(command) == (openai is not None):
        raise UsageError(
            "exactly one of a command and --openai is to be served",
            "nexus capability serve NAME -- CMD…, or nexus capability serve NAME --openai URL --model M",
        )
    if openai is None and (model is not None or api_key_env is not None):
        raise UsageError("--model and --api-key-env belong to --openai", "see `nexus capability serve --help`")
    if openai is not None and (model is None or jsonl):
        raise UsageError("--openai needs --model, and has no --jsonl", "see `nexus capability serve --help`")
    if price is None and ((network, asset, pay_to, tab_cap) != (None, None, None, None) or tab):
        raise UsageError(
            "--network, --asset, --pay-to and --tab belong to --price", "see `nexus capability serve --help`"
        )
    served = call(
        "capability.serve",
        name=name,
        description=description,
        max_concurrent=max_concurrent,
        timeout_ms=round(timeout * 1000),
        max_input_bytes=max_input,
        command=None if openai is not None else _command(command, jsonl=jsonl),
        openai=None if openai is None else OpenAiSpec(url=openai, model=model or "", api_key_env=api_key_env),
        price=None if price is None else _price(price, network, asset, pay_to, tab, tab_cap),
    )
    return Answer(served, _served)


@app.command(name="list", help=summaries.of("capability.list", "nexus capability list 9fKq2LmX"))
def list_(peer: str | None = None, /) -> Answer[CapabilityList]:
    """List.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more; without it, this daemon's own.
    """
    return Answer(call("capability.list", peer=peer), _list)


@app.command(help=summaries.of("capability.unregister", "nexus capability remove upper"))
def remove(name: str, /) -> Answer[Done]:
    """Remove.

    Parameters
    ----------
    name
        The name it is served by; calls that run go on to their end.
    """
    return Answer(call("capability.unregister", name=name), lambda _: f"{clean(name)} is no longer served")


def _command(command: tuple[str, ...], *, jsonl: bool) -> CommandSpec:
    """The command with its program found by this shell's PATH: the daemon's own may be another."""
    program = shutil.which(command[0])
    if program is None:
        raise UsageError(f"there is no command {command[0]!r}", "give one that this shell finds")
    return CommandSpec(argv=[str(Path(program).absolute()), *command[1:]], cwd=str(Path.cwd()), jsonl=jsonl)


def _price(
    price: str, network: str | None, asset: str | None, pay_to: str | None, tab: bool, cap: str | None
) -> PriceSpec:
    return PriceSpec(amount=price, network=network or "base", asset=asset or "USDC", pay_to=pay_to, tab=tab, cap=cap)


def _served(served: Capability) -> str:
    price = served.price
    cost = ""
    if price is not None and served.free:
        cost = " for nothing, each peer so often an hour (free_calls)"
    elif price is not None:
        unit = "a piece, by a tab" if price.tab else "a call"
        cost = f" for {price.amount} {price.asset} on {price.network} {unit}, paid to {price.pay_to}"
    return f"serving {clean(served.name)}{clean(cost)}; it stays served until it is removed"


def _cost(one: Capability) -> str:
    if one.price is not None and not one.free:
        return f"{one.price.amount} {one.price.asset}{' a piece' if one.price.tab else ''}"
    return "free" if one.free else "paid"


def _list(found: CapabilityList) -> str:
    if not found.answered:
        return f"{short(found.peer)} does not serve the handshake: what it can do is unknown, not nothing"
    rows = [
        [
            one.name,
            "yes" if one.available else "no",
            _cost(one),
            "stream" if one.streaming else "unary",
            size(one.max_input_bytes),
            f"{one.queue_ms / 1000:.1f} s" if one.queue_ms else "none",
            one.kind or "",
            one.description,
        ]
        for one in found.capabilities
    ]
    header = ["NAME", "AVAILABLE", "PRICE", "OUTPUT", "INPUT MAX", "QUEUE", "SERVED BY", "DESCRIPTION"]
    return table(header, rows, empty="none")
