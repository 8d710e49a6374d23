"""capability: what this daemon serves, and what others do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from nexusd.cli import summaries
from nexusd.cli.outcome import Answer
from nexusd.cli.prices import cost, lines
from nexusd.cli.session import call
from nexusd.cli.terminal import clean, short, size, table
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.schema import (
    Capability,
    CapabilityList,
    CommandSpec,
    Done,
    OpenAiSpec,
    PaySettleStatus,
    PriceSpec,
    PriceUnit,
)

app = App(name="capability", help="Capabilities: serve, list, remove.", help_format="plaintext")

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Listed = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]


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
    price: Listed = (),
    tab_price: Listed = (),
    network: Listed = (),
    asset: str | None = None,
    pay_to: str | None = None,
    tab: Flag = False,
    per: str | None = None,
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
        What a call costs, in whole tokens: 0.10, 0.12@polygon or 0.11@base/EURC; repeatable, and the caller chooses.
        For 0 each peer has `free_calls` an hour. Without it, nothing.
    tab_price
        The same for what is delivered, paid as it comes; repeatable, also beside --price.
    network
        Where it is paid, for prices that do not say: base (default), base-sepolia, ethereum, polygon; repeatable.
    asset
        The token, for prices that do not say (default: USDC).
    pay_to
        Address that is paid (default: this daemon's wallet).
    tab
        Take --price for --tab-price.
    per
        What such a price is for: piece (of output, the default), byte, token, second (of work), or so many of them:
        1000tokens.
    tab_cap
        What one tab grows to at most, before another follows it (default: what its payer is trusted with).
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
    if tab and tab_price:
        raise UsageError("--tab and --tab-price say the same", "leave --tab out, and give both prices by their names")
    if not (price or tab_price) and ((asset, pay_to, tab_cap, per) != (None, None, None, None) or network or tab):
        raise UsageError(
            "--network, --asset, --pay-to and --tab belong to --price", "see `nexus capability serve --help`"
        )
    if per is not None and not (tab or tab_price):
        raise UsageError("--per belongs to --tab and --tab-price", "see `nexus capability serve --help`")
    places = _Places(network, asset)
    prices = [
        *places.prices(() if tab else price, pay_to=pay_to),
        *places.prices(price if tab else tab_price, pay_to=pay_to, tab=True, cap=tab_cap, per=per),
    ]
    if network and not places.used:
        raise UsageError("each price says where it is paid", "leave --network out, or the networks behind @")
    served = call(
        "capability.serve",
        name=name,
        description=description,
        max_concurrent=max_concurrent,
        timeout_ms=round(timeout * 1000),
        max_input_bytes=max_input,
        command=None if openai is not None else _command(command, jsonl=jsonl),
        openai=None if openai is None else OpenAiSpec(url=openai, model=model or "", api_key_env=api_key_env),
        prices=prices,
    )
    return Answer(served, _served, _unsettled(served))


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


class _Places:
    """Where prices are paid that do not say so themselves."""

    def __init__(self, networks: tuple[str, ...], asset: str | None) -> None:
        self._networks = networks or ("base",)
        self._asset = asset or "USDC"
        self.used = False

    def prices(
        self,
        texts: tuple[str, ...],
        *,
        pay_to: str | None,
        tab: bool = False,
        cap: str | None = None,
        per: str | None = None,
    ) -> Iterator[PriceSpec]:
        """The prices of AMOUNT[@NETWORK[/TOKEN]]; one without a network on each of those given."""
        many, unit = _units(per or "piece")
        for text in texts:
            amount, at, place = text.partition("@")
            network, slash, asset = place.partition("/")
            if (at and not network) or (slash and not asset):
                raise UsageError(f"{text!r} is no price", "write it like 0.10, 0.12@polygon or 0.11@base/EURC")
            self.used |= not at
            for each in (network,) if at else self._networks:
                yield PriceSpec(
                    amount=amount,
                    network=each,
                    asset=asset or self._asset,
                    pay_to=pay_to,
                    tab=tab,
                    unit=unit,
                    per=many,
                    cap=cap,
                )


def _units(text: str) -> tuple[int, PriceUnit]:
    """How many of what: `token`, `1000tokens`."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})?(piece|byte|token|second)s?", text)
    if match is None:
        raise UsageError(f"{text!r} is nothing that is counted", "give piece, byte, token or second, or 1000tokens")
    unit: Any = match[2]
    return int(match[1] or 1), unit


def _served(served: Capability) -> str:
    asked = ""
    if served.prices and served.free:
        asked = " for nothing, each peer so often an hour (free_calls)"
    elif served.prices:
        payees = dict.fromkeys(price.pay_to for price in served.prices if price.pay_to)
        asked = f" for {', or '.join(map(str, served.prices))}, paid to {', '.join(payees)}"
    return f"serving {clean(served.name)}{clean(asked)}; it stays served until it is removed"


def _unsettled(served: Capability) -> str:
    """What keeps its networks from settling: said at once, and not when the first payment is lost."""
    networks = {price.network for price in served.prices if not served.free}
    if not networks:
        return ""
    status: PaySettleStatus = call("pay.settlements", limit=1)
    held = [state for state in status.networks if state.network in networks and not state.settles]
    return "\n".join(clean(f"{state.network} does not settle now: {state.problem}") for state in held)


def _list(found: CapabilityList) -> str:
    if not found.answered:
        return f"{short(found.peer)} does not serve the handshake: what it can do is unknown, not nothing"
    rows: list[list[str]] = []
    for one in found.capabilities:
        row = [
            one.name,
            "yes" if one.available else "no",
            "stream" if one.streaming else "unary",
            size(one.max_input_bytes),
            f"{one.queue_ms / 1000:.1f} s" if one.queue_ms else "none",
            one.kind or "",
            one.description,
        ]
        rows += lines(row, 2, cost(one.prices, free=one.free))
    header = ["NAME", "AVAILABLE", "PRICE", "OUTPUT", "INPUT MAX", "QUEUE", "SERVED BY", "DESCRIPTION"]
    why = [clean(f"{one.name} is not available: {one.problem}") for one in found.capabilities if one.problem]
    return "\n".join([table(header, rows, empty="none"), *why])
