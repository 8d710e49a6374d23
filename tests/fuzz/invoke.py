"""Both ends of an invocation: whatever comes, in whatever pieces, is accepted or refused with a named reason.

The first byte picks the end, its state, and where the rest is split.
"""

from __future__ import annotations

from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.provider import Provider
from nexusd_protocols.invoke.side import OVER
from tests.fuzz.inputs import halves
from tests.harness.invocation import CALLERS, NAMES, PROVIDERS, line
from tests.harness.stream_vectors import outcome

MACHINES = [*CALLERS.values(), *PROVIDERS.values()]

SEEDS = [
    bytes([index]) + text
    for index in range(len(MACHINES))
    for text in (
        *(line(name) for name in NAMES),
        line("open") + line("chunk") + line("cancel"),
        line("event") + line("event", seq=1) + line("done"),
    )
]


def target(data: bytes) -> None:
    """Accept, or raise RemoteProtocolError once; then nothing more."""
    if not data:
        return
    machine: Caller | Provider = MACHINES[data[0] % len(MACHINES)]()
    events, error = outcome(machine, halves(data), eof=True)
    repr(events)
    if error is not None:
        assert error.code
        assert error.reply.count(b"\n") <= 1
        assert machine.state in OVER
        assert machine.receive(data[1:]) == []
    usage, bounds = machine.usage, machine.limits
    assert usage.input_bytes <= bounds.max_input_bytes
    assert usage.output_bytes <= bounds.max_output_bytes
