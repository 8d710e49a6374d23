"""Streams: room watch, dm watch, events and invoke --stream, for people and as JSON Lines."""

import signal
import sys
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from nexusd.cli import main, waiting
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.process import poll
from tests.harness.scripted import Reply
from tests.unit.cli.answers import BOB
from tests.unit.cli.conftest import Text
from tests.unit.cli.streams import call, call_that, ended, event, feed, first, piece, said, waits, wrote

ROOT = Path(__file__).parents[3]


def test_room_watch_on_a_terminal(nexus, daemon):
    daemon.script = {
        "room.members": schema.RoomMembers(members=[]),
        "node.subscribe": feed(
            said("hello\nthere", 1, sender_name="bob"),
            said("\x1b[2Jclear", 2),
            event("room", "left", {"room": "general"}),
        ),
    }
    ran = nexus("room", "watch", "general", tty=True)
    assert ran.out == (
        f"2023-11-14 22:13:20 bob ({BOB[-8:]}): hello\n    there\n"
        f"2023-11-14 22:13:20 {BOB[-8:]}: clear\n"
        "2023-11-14 22:13:20 room left room=general\n"
    )
    assert ran.err.startswith("watching general; Ctrl-C ends it\n")
    assert first(daemon, "node.subscribe") == schema.SubscribeParams(kinds=["room"], room="general")


def test_room_watch_as_json_lines(nexus, daemon):
    daemon.script = {
        "room.members": schema.RoomMembers(members=[]),
        "node.subscribe": feed(said("one", 1), said("two", 2)),
    }
    ran = nexus("--json", "room", "watch", "general", "--cursor", "0")
    *lines, last = ran.lines
    assert [(line["cursor"], line["data"]["content"]) for line in lines] == [(1, "one"), (2, "two")]
    assert (last["ok"], last["error"]["code"], ran.code, ran.err) == (False, "bad_cursor", 1, "")
    asked = [params.cursor for name, params in daemon.asked if name == "node.subscribe"]
    assert asked == [0, 2], "after the break it continued behind the last event"


def test_room_watch_refuses_a_room_that_was_not_joined(nexus, daemon):
    daemon.script["room.members"] = Refusal("not_joined")
    ran = nexus("room", "watch", "general")
    assert (ran.code, ran.error["code"]) == (1, "not_joined")
    assert "nexus room join" in ran.error["try"]


def test_dm_watch(nexus, daemon):
    daemon.script["node.subscribe"] = feed(wrote("just us", 1))
    ran = nexus("dm", "watch", "--peer", BOB[-8:], tty=True)
    assert ran.out == f"2023-11-14 22:13:20 {BOB[-8:]}: just us\n"
    assert first(daemon, "node.subscribe") == schema.SubscribeParams(kinds=["dm"], peer=BOB[-8:])


def test_events(nexus, daemon):
    daemon.script["node.subscribe"] = feed(
        said("hi", 1),
        wrote("psst", 2),
        event("peer", "connected", {"peerId": BOB, "address": "/ip4/1.2.3.4\x1b[31m", "source": ""}),
    )
    ran = nexus("events", "--kinds", "room,dm peer", "--cursor", "7", tty=True)
    assert ran.out.splitlines() == [
        f"[general] 2023-11-14 22:13:20 {BOB[-8:]}: hi",
        f"[dm] 2023-11-14 22:13:20 {BOB[-8:]}: psst",
        f"2023-11-14 22:13:20 peer connected peerId={BOB[-8:]} address=/ip4/1.2.3.4",
    ]
    assert first(daemon, "node.subscribe") == schema.SubscribeParams(kinds=["room", "dm", "peer"], cursor=7)


def test_events_of_an_unknown_kind(nexus, daemon):
    assert nexus("events", "--kinds", "rooms").error["message"] == "there are no rooms events"
    assert daemon.asked == []


# --- invoke -----------------------------------------------------------------------------------------------------------
def test_invoke_shows_the_output(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(piece("result", "MAKE ME \x1b[1mLOUD\n"), ended())
    assert nexus("invoke", BOB, "upper", "make me loud", tty=True).out == "MAKE ME LOUD\n"
    asked = daemon.params("capability.invoke")
    assert (asked.peer, asked.capability, asked.input, asked.input_format, asked.stream) == (
        BOB,
        "upper",
        "make me loud",
        "text/plain",
        False,
    )
    assert nexus("invoke", BOB, "upper", "x").data == {
        "output": "MAKE ME \x1b[1mLOUD\n",
        "inputBytes": 10,
        "outputBytes": 2048,
        "durationMs": 350,
    }


def once_told(daemon, *then):
    """What comes of a call once whoever made it was told, or once it is known that nobody is."""
    daemon.wait_for("pay.explain")
    for thread in threading.enumerate():
        if thread.name == waiting.THREAD:
            thread.join(10)
            assert not thread.is_alive()
    yield from then


@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_invoke_says_what_it_waits_for_and_what_to_type(nexus, daemon, monkeypatch, stream):
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(waiting, "LOOK_AGAIN_S", 0.01)
    looks = iter(["", "waiting", "waiting", "intended", "signed", "signed", "gone"])

    def explain(params):
        assert params.id == "i"
        state = next(looks)
        if state in ("", "gone"):
            return Refusal("payment_unknown" if not state else "internal_error")
        return schema.PayExplained(purchase=replace(waits("i"), state=state))

    daemon.script["pay.explain"] = explain
    daemon.script["capability.invoke"] = lambda _: call_that(once_told(daemon, piece("result", "LOUD"), ended()))
    ran = nexus("invoke", BOB, "upper", "x", "--max-price", "0.10", *stream, tty=True)
    assert ran.out.strip() == "LOUD"
    assert ran.err.splitlines()[:2] == [
        "0.1 USDC wait for your word: nexus pay approve i (or nexus pay reject i)",
        "signed for 0.1 USDC on base; waiting for upper, which may first have the payment settled",
    ]


def test_invoke_does_not_say_that_a_tab_is_settled_first(nexus, daemon, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(waiting, "LOOK_AGAIN_S", 0.01)
    tab = replace(waits("i"), state="signed", signed="0.01", tabs=1)
    looks = iter([schema.PayExplained(purchase=tab), Refusal("internal_error")])
    daemon.script["pay.explain"] = lambda _: next(looks)
    daemon.script["capability.invoke"] = lambda _: call_that(once_told(daemon, piece("result", "LOUD"), ended()))
    ran = nexus("invoke", BOB, "upper", "x", "--max-price", "0.10", "--tab", tty=True)
    assert ran.err == "signed for 0.01 of at most 0.1 USDC on base; waiting for upper\n"


def test_a_call_that_was_not_paid_for_is_not_made_again(nexus, daemon):
    again = ("--max-price", "0.10", "--again", "01a228")
    daemon.script["pay.explain"] = schema.PayExplained(purchase=waits("01a22825-0bd2"))
    daemon.script["capability.invoke"] = lambda _: call(piece("result", "LOUD"), ended())
    assert nexus("invoke", BOB, "upper", "x", *again).data["output"] == "LOUD"
    assert (daemon.params("pay.explain").id, daemon.params("capability.invoke").again) == ("01a228", "01a22825-0bd2")
    assert daemon.params("capability.invoke").id is None
    daemon.script["pay.explain"] = Refusal("payment_unknown", "There is no payment 'i'")
    error = nexus("invoke", BOB, "upper", "x", *again).error
    assert (error["code"], error["message"]) == ("payment_unknown", "There is no payment 'i'")
    assert "nexus pay history" in error["try"]


def test_invoke_asks_nobody_about_what_is_free_and_ends_well_where_the_daemon_cannot_tell(nexus, daemon, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.01)
    daemon.script["capability.invoke"] = lambda _: call(piece("result", "LOUD"), ended())
    assert nexus("invoke", BOB, "upper", "x", tty=True).out.strip() == "LOUD"
    assert [name for name, _ in daemon.asked if name == "pay.explain"] == []
    daemon.script["capability.invoke"] = lambda _: call_that(once_told(daemon, piece("result", "LOUD"), ended()))
    ran = nexus("invoke", BOB, "upper", "x", "--max-price", "0.10", tty=True)
    assert (ran.out.strip(), ran.err) == ("LOUD", "")


def test_invoke_joins_pieces_and_leaves_progress_out(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(
        piece("token", "a"), piece("progress", {"percent": 50}), piece("token", "b"), ended()
    )
    assert nexus("invoke", BOB, "x", "y").data["output"] == "ab"


def test_invoke_shows_structures_as_json(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(piece("result", {"n": "ü\x1b"}), ended())
    assert nexus("invoke", BOB, "x", "y", tty=True).out == '{\n  "n": "\\u00fc\\u001b"\n}\n'


@pytest.mark.parametrize(
    ("args", "stdin", "value", "form"),
    [
        (['{"to": 5}'], None, {"to": 5}, "application/json"),
        ([" [1, 2] "], None, [1, 2], "application/json"),
        (['{"to": 5}', "--text"], None, '{"to": 5}', "text/plain"),
        (["{not json"], None, "{not json", "text/plain"),
        (["5"], None, "5", "text/plain"),
        (["null"], None, "null", "text/plain"),
        (["[" * 5000], None, "[" * 5000, "text/plain"),
        ([], None, "", "text/plain"),
        ([], b"piped\n", "piped\n", "text/plain"),
        ([], b'{"a": 1}', {"a": 1}, "application/json"),
        (["-"], b"piped", "piped", "text/plain"),
        (["arg"], b"ignored", "arg", "text/plain"),
    ],
)
def test_invoke_input(nexus, daemon, args, stdin, value, form):
    daemon.script["capability.invoke"] = lambda _: call(ended())
    assert nexus("invoke", BOB, "x", *args, stdin=stdin).code == 0
    asked = daemon.params("capability.invoke")
    assert (asked.input, asked.input_format) == (value, form)


def test_invoke_input_from_a_file(nexus, daemon, tmp_path):
    daemon.script["capability.invoke"] = lambda _: call(ended())
    (tmp_path / "in.txt").write_text("from a file\n")
    nexus("invoke", BOB, "x", f"@{tmp_path}/in.txt")
    assert daemon.params("capability.invoke").input == "from a file\n"
    (tmp_path / "in.bin").write_bytes(b"ok\xff")
    assert "is not UTF-8 (byte 2)" in nexus("invoke", BOB, "x", f"@{tmp_path}/in.bin").error["message"]
    assert "cannot be read: No such file" in nexus("invoke", BOB, "x", "@none").error["message"]


def test_invoke_limits(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(ended())
    nexus("invoke", BOB, "x", "y", "--max-duration", "1.5", "--max-input", "10", "--max-output", "20")
    asked = daemon.params("capability.invoke")
    assert (asked.max_duration_ms, asked.max_input_bytes, asked.max_output_bytes) == (1500, 10, 20)


def test_a_failed_call_says_the_providers_word(nexus, daemon):
    error = {"code": "invoke_failed", "message": "it burns \x1b[31m", "remoteCode": "OVEN"}
    daemon.script["capability.invoke"] = lambda _: call(piece("token", "half"), ended(error=error))
    ran = nexus("invoke", BOB, "x", "y")
    assert (ran.code, ran.error["code"], ran.error["data"]) == (1, "invoke_failed", {"remoteCode": "OVEN"})
    assert ran.err == "nexus: it burns \n"
    assert nexus("invoke", BOB, "x", "y", tty=True).out == ""


def test_what_came_of_a_paid_call_that_ends_early_is_shown(nexus, daemon):
    paid = schema.PaymentSummary(
        id="i", state="paid", amount="0.05", asset="USDC", network="base", pay_to="0x", tabs=1, units=5, unit="piece"
    )
    error = {"code": "price_reached", "message": "The call has cost what it may"}
    method, end = ended(error=error)
    pieces = piece("token", "one\n"), piece("progress", 0.5), piece("token", "two\n")
    daemon.script["capability.invoke"] = lambda _: call(*pieces, (method, replace(end, payment=paid)))
    ran = nexus("invoke", BOB, "lines", "x", "--tab", "--max-price", "0.05", tty=True)
    assert (ran.code, ran.out) == (1, "one\ntwo\n")
    assert ran.err.startswith("nexus: The call has cost what it may\n  what came was paid for; ")
    assert "`nexus pay explain i`" in ran.err
    error = nexus("--json", "invoke", BOB, "lines", "x", "--tab", "--max-price", "0.05").error
    assert (error["code"], error["data"]["output"], error["data"]["payment"]["id"]) == (
        "price_reached",
        "one\ntwo\n",
        "i",
    )


def test_what_came_of_a_paid_call_whose_daemon_is_gone_is_shown(nexus, daemon):
    then = (piece("token", "half"),)
    daemon.script["capability.invoke"] = lambda _: Reply(
        schema.Invocation(invocation="i", credit=65536), then, hang_up=True
    )
    ran = nexus("invoke", BOB, "x", "y", "--max-price", "0.10", tty=True)
    assert (ran.code, ran.out) == (2, "half\n")
    assert nexus("invoke", BOB, "x", "y", "--max-price", "0.10").error["data"] == {"output": "half"}


def test_what_speaks_against_a_payment_says_itself_what_would_change_it(nexus, daemon):
    error = {
        "code": "payment_refused",
        "message": "The provider asks for 0.1 USDC on base: more than this call may cost (`--max-price`)",
        "reason": "over_what_the_call_allows",
    }
    daemon.script["capability.invoke"] = lambda _: call(ended(error=error))
    ran = nexus("invoke", BOB, "x", "y", "--max-price", "0.01", tty=True)
    assert (ran.code, ran.err) == (1, f"nexus: {error['message']}\n")


def test_stream_joins_text_live_on_a_terminal(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(
        piece("token", "Once "),
        piece("token", "upon\n\x1b]0;x\x07a"),
        piece("progress", 0.5),
        piece("token", "time"),
        piece("partial", {"n": 1}),
        piece("tick\x1b[0m", 3),
        piece("result", "end\n"),
        ended(),
    )
    ran = nexus("invoke", BOB, "x", "y", "--stream", tty=True)
    assert ran.out == 'Once upon\na\nprogress: 0.5\ntime\n{"n": 1}\ntick: 3\nend\n'
    assert ran.err == "done: 10 B in, 2.0 KiB out, 350 ms\n"
    assert daemon.params("capability.invoke").stream is True


def test_stream_ends_a_line_that_was_left_open(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(piece("token", "no line end"), ended())
    assert nexus("invoke", BOB, "x", "y", "--stream", tty=True).out == "no line end\n"


def test_stream_ends_its_line_before_anything_is_said(nexus, daemon, monkeypatch):
    def run(*then, hang_up=False, options=()):
        daemon.script["capability.invoke"] = lambda _: Reply(
            schema.Invocation(invocation="i", credit=65536), then, hang_up=hang_up
        )
        both = Text(True)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", both)
            patch.setattr(sys, "stderr", both)
            patch.setattr(sys, "stdin", Text(True))
            main.run(["invoke", BOB, "x", "y", "--stream", *options])
        return both.text()

    half = piece("token", "half")
    assert run(half, ended()) == "half\ndone: 10 B in, 2.0 KiB out, 350 ms\n"
    error = {"code": "invoke_failed", "message": "it burns"}
    assert run(half, ended(error=error)) == "half\nnexus: it burns\n"
    assert run(half, hang_up=True) == "half\nnexus: The daemon closed the connection\n  try again\n"
    paid = run(half, hang_up=True, options=("--max-price", "0.10"))
    assert "try again" not in paid
    assert "the daemon knows whether it was paid for: once it runs again, see `nexus pay explain i`" in paid
    for fields, told in (
        ({"state": "closed"}, "nothing was signed for it: call again"),
        ({"state": "waiting"}, "see `nexus pay explain i` before you call again"),
        (
            {"state": "signed", "signed": "0.1"},
            "0.1 USDC on base is signed for: see `nexus pay explain i` before you call again",
        ),
    ):
        daemon.script["pay.explain"] = schema.PayExplained(purchase=replace(waits("i"), **fields))
        assert run(half, hang_up=True, options=("--max-price", "0.10")).endswith(f"connection\n  {told}\n")


def test_stream_ends_its_line_before_it_says_what_was_signed_for(nexus, daemon, monkeypatch):
    signed = replace(waits("i"), state="signed", signed="0.02")
    daemon.script["pay.explain"] = schema.PayExplained(purchase=signed)

    def interrupted():
        yield piece("token", "half")
        poll(lambda: "half" in both.text(), "it was printed")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        daemon.wait_for("pay.explain")

    daemon.script["capability.invoke"] = lambda _: call_that(interrupted())
    both = Text(True)
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    monkeypatch.setattr(sys, "stdin", Text(True))
    assert main.run(["invoke", BOB, "x", "y", "--stream", "--max-price", "0.10"]) == 1
    assert both.text() == (
        "half\nnexus: given up; 0.02 USDC on base is signed for, and charged if it was worked for\n"
        "  see `nexus pay explain i`\n"
    )


def test_stream_as_json_lines_says_that_it_is_whole(nexus, daemon):
    daemon.script["capability.invoke"] = lambda _: call(
        piece("partial", {"n": 1}), piece("partial", {"n": 2}, 1), ended()
    )
    ran = nexus("invoke", BOB, "x", "y", "--stream")
    *lines, end = ran.lines
    assert [(line["seq"], line["event"], line["data"]) for line in lines] == [
        (0, "partial", {"n": 1}),
        (1, "partial", {"n": 2}),
    ]
    assert end["end"]["outputBytes"] == 2048
    assert "error" not in end["end"] or end["end"]["error"] is None


def test_a_stream_that_fails_ends_with_the_error(nexus, daemon):
    error = {"code": "invoke_cancelled", "message": "the provider stopped"}
    daemon.script["capability.invoke"] = lambda _: call(piece("partial", 1), ended(error=error))
    ran = nexus("invoke", BOB, "x", "y", "--stream")
    assert [line.get("data") for line in ran.lines[:-1]] == [1]
    assert (ran.code, ran.error["code"]) == (1, "invoke_cancelled")
