"""One end of a call in every state, and every frame and command to try there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nexusd_protocols.invoke import commands, frames
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.provider import Provider
from nexusd_protocols.invoke.side import State
from tests.harness.people import ALICE, BOB

TERMS = frames.Terms(amount="1", currency="USDC", recipient="0xabc")
PROOF = frames.Proof(from_="0xa", to="0xb", amount="1", currency="USDC", signature="0x1", nonce="0x2")
SIGNATURE = "0x" + "11" * 65

_FIELDS: dict[str, dict[str, Any]] = {
    "open": {"capability": "upper", "inputFormat": "text/plain", "outputMode": "unary"},
    "accept": {"accepted": True},
    "chunk": {"seq": 0, "isFinalInput": True, "data": "hi"},
    "event": {"seq": 0, "event": "token", "data": "HI"},
    "done": {},
    "error": {"code": "INTERNAL", "message": "broken"},
    "cancel": {"reason": "enough"},
    "payment_required": {"terms": {"amount": "1", "currency": "USDC", "recipient": "0xabc"}},
    "payment_proof": {
        "proof": {"from": "a", "to": "b", "amount": "1", "currency": "USDC", "signature": "s", "nonce": "n"}
    },
    "payment_due": {"tab": 0, "units": 3, "amount": "30"},
    "payment": {"tab": 0, "amount": "30", "signature": SIGNATURE},
    "quote": {"privacy_class": "local-only"},
}
NAMES = tuple(_FIELDS)
"""Every frame of the protocol, and `quote` for those of later versions."""


def line(name: str, **changes: Any) -> bytes:
    """A valid frame, with some fields changed."""
    frame = {"type": f"invoke.{name}", "version": 1, "requestId": "r1", **_FIELDS[name], **changes}
    return json.dumps(frame).encode() + b"\n"


def caller(**options: Any) -> Caller:
    return Caller(ALICE.peer_id, BOB.peer_id, **options)


def provider(**options: Any) -> Provider:
    return Provider(BOB.peer_id, ALICE.peer_id, **options)


def open_command(**options: Any) -> commands.Open:
    return commands.Open(**{"request_id": "r1", "capability": "upper", **options})


def opened_caller(**options: Any) -> Caller:
    machine = caller()
    machine.send(open_command(**options))
    return machine


def opened_provider(*, options: dict[str, Any] | None = None, **fields: Any) -> Provider:
    machine = provider(**(options or {}))
    machine.receive(line("open", **fields))
    return machine


def _after(machine: Any, *steps: bytes | object) -> Any:
    for step in steps:
        if isinstance(step, bytes):
            machine.receive(step)
        else:
            machine.send(step)
    return machine


CALLERS: dict[State, Callable[[], Caller]] = {
    State.START: caller,
    State.OPEN: opened_caller,
    State.DEMANDED: lambda: _after(opened_caller(), line("payment_required")),
    State.PAID: lambda: _after(opened_caller(), line("payment_required"), commands.Pay(PROOF)),
    State.RUNNING: lambda: _after(opened_caller(), line("event")),
    State.ENDED: lambda: _after(opened_caller(), commands.Cancel()),
    State.PEER_ENDED: lambda: _after(opened_caller(), line("done")),
}
PROVIDERS: dict[State, Callable[[], Provider]] = {
    State.START: provider,
    State.OPEN: opened_provider,
    State.DEMANDED: lambda: _after(opened_provider(), commands.Demand(TERMS)),
    State.PAID: lambda: _after(opened_provider(), commands.Demand(TERMS), line("payment_proof")),
    State.RUNNING: lambda: _after(opened_provider(), commands.Event("token", "x"), commands.Due(0, 3, 30)),
    State.ENDED: lambda: _after(opened_provider(), commands.Done()),
    State.PEER_ENDED: lambda: _after(opened_provider(), line("cancel")),
}
