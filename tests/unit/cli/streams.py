"""What a scripted daemon tells of: messages, pieces of calls, payments that wait."""

from pathlib import Path

from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.scripted import Reply
from tests.unit.cli.answers import BOB, THEN

ROOT = Path(__file__).parents[3]


def event(kind, type_, data, cursor=None):
    return "node.event", schema.NodeEvent(subscription="s", kind=kind, type=type_, cursor=cursor, at=THEN, data=data)


def said(content, cursor, **fields):
    message = schema.RoomMessage(
        room="general",
        message_id=f"m{cursor}",
        sender=BOB,
        timestamp=THEN,
        received_at=THEN,
        content=content,
        format="text/plain",
        digest="00",
        position=cursor,
        **fields,
    )
    return event("room", "message", message, cursor)


def wrote(content, cursor):
    message = schema.DirectMessage(
        peer=BOB,
        direction="in",
        message_id=f"d{cursor}",
        sender=BOB,
        timestamp=THEN,
        content=content,
        format="text/plain",
        status="received",
        position=cursor,
    )
    return event("dm", "message", message, cursor)


def feed(*events):
    """A subscription that gives these events and then ends for good."""
    given = []

    def subscribe(params):
        given.append(params)
        if len(given) > 1:
            return Refusal("bad_cursor", "the test is over")
        return Reply(schema.Subscription(subscription="s", cursor=0), events, hang_up=True)

    return subscribe


def first(daemon, method):
    return next(params for name, params in daemon.asked if name == method)


def ended(invocation="i", error=None):
    return "invoke.end", schema.InvokeEnd(
        invocation=invocation, input_bytes=10, output_bytes=2048, duration_ms=350, error=error
    )


def piece(event_name, data, seq=0):
    return "invoke.event", schema.InvokeEvent(invocation="i", seq=seq, event=event_name, data=data)


def call_that(then):
    return Reply(schema.Invocation(invocation="i", credit=65536), then)


def call(*then):
    return call_that(then)


# --- events -----------------------------------------------------------------------------------------------------------


def waits(id_):
    return schema.PurchaseView(
        id=id_,
        cursor=1,
        at=THEN,
        state="waiting",
        peer=BOB,
        capability="upper",
        amount="0.1",
        signed="0",
        counts="0.1",
        asset="USDC",
        network="base",
        pay_to="0x",
    )
