"""Calls that cost something: what is asked for, and what is refused before it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from nexusd.services.capabilities.openai import OpenAi, unfit
from nexusd.services.capabilities.paid import PaidCall
from nexusd.services.capabilities.registry import Entry
from nexusd.services.screening import Screen
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import OpenFrame
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.rpc.schema import CapabilityServeParams, OpenAiSpec
from tests.harness.people import ALICE, BOB

DEMAND = commands.Demand(None, {"accepts": []})


class Line:
    """The caller's end: `came` along with the opening; nobody pays, and the caller gives up behind a demand."""

    def __init__(self, *came: events.Input) -> None:
        self.came = list(came)
        self.said: list[Any] = []
        self.asked = trio.Event()

    def ready(self) -> list[events.Input]:
        return self.came

    async def send(self, *said: Any, timeout: float = 0) -> None:
        await trio.lowlevel.checkpoint()
        self.said += said
        self.asked.set()

    async def receive(self) -> Any:
        await self.asked.wait()
        return events.Cancelled("too dear")


class Sale:
    async def demand(self) -> commands.Demand:
        await trio.lowlevel.checkpoint()
        return DEMAND


async def asked_with(*pieces: Any, final: bool = True, input_format: str = "text/plain") -> list[Any]:
    frame = OpenFrame(version=1, request_id="r1", capability="chat", input_format=input_format, output_mode="unary")
    opened = events.Opened(frame, Limits(), AgentId(ALICE.peer_id), None)
    spec = OpenAiSpec(url="http://127.0.0.1:1", model="small")
    params = CapabilityServeParams(name="chat", openai=spec)
    entry = Entry(AgentId(BOB.peer_id), CapabilityName("chat"), "openai", OpenAi(spec), params, offers=(), unfit=unfit)
    last = len(pieces) - 1
    line: Any = Line(*(events.Input(n, data, final and n == last, 1) for n, data in enumerate(pieces)))
    sale: Any = Sale()
    with trio.fail_after(5):
        await PaidCall("i1", line, opened, entry, sale, Screen()).run()
    said: list[Any] = line.said
    return said


@pytest.mark.parametrize(
    ("pieces", "input_format", "words"),
    [
        ([msgspec.UNSET], "text/plain", "the input is text, or an object with messages or prompt"),
        ([""], "text/plain", "the input is text, or an object with messages or prompt"),
        ([{"prompt": 7}], "application/json", "the input is text, or an object with messages or prompt"),
        (["{"], "application/json", "the input is not JSON"),
        ([{"a": 1}, {"b": 2}], "application/json", "JSON input comes in one piece"),
    ],
)
async def test_nobody_is_asked_to_pay_for_an_input_that_is_refused(
    pieces: list[Any], input_format: str, words: str
) -> None:
    assert await asked_with(*pieces, input_format=input_format) == [commands.Error("BAD_REQUEST", words)]


async def test_what_may_be_fit_is_asked_to_be_paid_for() -> None:
    for said in (
        await asked_with("hel", "lo"),
        await asked_with({"messages": [{"role": "user", "content": "hi"}]}, input_format="application/json"),
        await asked_with("", final=False),  # more may come
        await asked_with(),
    ):
        assert said[0] == DEMAND
