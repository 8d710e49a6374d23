"""Nodes that hang, lie about what was asked, or answer without end: each is a fault, soon, and the next call works."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from nexusd.chain import rpc as rpc_module
from nexusd.chain.rpc import Call, Refused, Rpc, data, flag, quantity
from nexusd.chain.views import ChainError
from tests.harness.rpcnode import RpcNode, Visit

_made: list[Rpc] = []


def make(url: str) -> Rpc:
    _made.append(Rpc(url))
    return _made[-1]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


CALLS = [Call("eth_chainId"), Call("eth_blockNumber")]


async def ask(node: RpcNode, rpc: Rpc | None = None, timeout: float = 20.0):
    with contextlib.closing(Rpc(node.url, max_answer=65536)) as own:
        return await (rpc or own).batch(CALLS, timeout=timeout)


async def fault(node: RpcNode, **options) -> str:
    with pytest.raises(ChainError) as caught:
        await ask(node, **options)
    return caught.value.fault.code


def good(visit: Visit) -> None:
    visit.answer([hex(number + 1) for number in range(len(visit.calls))])


async def test_a_batch_is_one_request_and_the_connection_is_kept():
    with RpcNode(good) as node:
        rpc = make(node.url + "/key?of=alice")
        assert await ask(node, rpc) == ["0x1", "0x2"]
        assert await ask(node, rpc) == ["0x1", "0x2"]
        assert (node.visits, node.connections) == (2, 1)
        assert await rpc.batch([], timeout=1) == []


async def test_the_path_of_the_url_goes_along():
    paths = []

    def script(visit: Visit) -> None:
        paths.append(visit.path)
        good(visit)

    with RpcNode(script) as node:
        await ask(node, make(node.url + "/v2/key?a=b"))
    assert paths == ["/v2/key?a=b"]


async def test_answers_in_any_order_and_errors_of_single_calls():
    def script(visit: Visit) -> None:
        first, second = visit.calls
        parts = [
            {"jsonrpc": "2.0", "id": second["id"], "error": {"code": 3, "message": "reverted", "data": "0x08"}},
            {"jsonrpc": "2.0", "id": first["id"], "result": None},
        ]
        visit.send(json.dumps(parts).encode())

    with RpcNode(script) as node:
        assert await ask(node) == [None, Refused(3, "reverted", "0x08")]


def half(visit: Visit) -> None:
    first = visit.calls[0]
    visit.send(json.dumps([{"id": first["id"], "result": "0x1"}]).encode())


def twice(visit: Visit) -> None:
    first = visit.calls[0]
    visit.send(json.dumps([{"id": first["id"], "result": "0x1"}] * 2).encode())


def other_ids(visit: Visit) -> None:
    visit.send(json.dumps([{"id": call["id"] + 2, "result": "0x1"} for call in visit.calls]).encode())


def text_ids(visit: Visit) -> None:
    visit.send(json.dumps([{"id": str(call["id"]), "result": "0x1"} for call in visit.calls]).encode())


def no_result(visit: Visit) -> None:
    visit.send(json.dumps([{"id": call["id"]} for call in visit.calls]).encode())


def odd_error(visit: Visit) -> None:
    visit.send(json.dumps([{"id": call["id"], "error": "no"} for call in visit.calls]).encode())


@pytest.mark.parametrize("script", [half, twice, other_ids, text_ids, no_result, odd_error])
async def test_a_batch_that_is_not_answered_whole_counts_for_nothing(script):
    with RpcNode(script) as node:
        assert await fault(node) == "bad_answer"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 20000, b"<html>", b'"' + b"a" * 100])
async def test_answers_that_are_no_batch(body):
    with RpcNode(lambda visit: visit.send(body)) as node:
        assert await fault(node) == "bad_answer"


TOO_LARGE = {"code": -32600, "message": "batch limit"}


def refuse_alone(visit: Visit) -> None:
    visit.send(json.dumps({"jsonrpc": "2.0", "id": None, "error": TOO_LARGE}).encode())


def refuse_the_first(visit: Visit) -> None:
    """As geth has it."""
    visit.send(json.dumps([{"jsonrpc": "2.0", "id": visit.calls[0]["id"], "error": TOO_LARGE}]).encode())


def refuse_by_status(visit: Visit) -> None:
    visit.send(b"", "413 Payload Too Large")


@pytest.mark.parametrize("refuse", [refuse_alone, refuse_the_first, refuse_by_status])
@pytest.mark.parametrize("most", [3, 1])
async def test_a_node_that_takes_few_calls_at_a_time_is_asked_in_parts(refuse, most: int):
    sizes = []

    def script(visit: Visit) -> None:
        sizes.append(len(visit.calls))
        if len(visit.calls) > most:
            refuse(visit)
        else:
            visit.answer([call["params"][0] for call in visit.calls])

    with RpcNode(script) as node:
        rpc = make(node.url)
        calls = [Call("echo", (number,)) for number in range(24)]
        for _ in range(2):
            assert await rpc.batch(calls, timeout=20) == list(range(24))
    refused = {3: [24, 12, 6], 1: [24, 12, 6, 3]}[most]
    assert sizes == refused + [most] * (24 // most) * 2  # what it takes is remembered


async def test_a_node_that_takes_no_batches_is_asked_one_by_one(monkeypatch):
    monkeypatch.setattr(rpc_module, "TRY_MORE", 5)
    asked = []

    def script(visit: Visit) -> None:
        asked.append(visit.plain)
        (good if visit.plain or visit.number > 6 else refuse_alone)(visit)

    with RpcNode(script) as node:
        rpc = make(node.url)
        assert await ask(node, rpc) == ["0x1", "0x1"]
        assert asked == [False, False, True, True]
        assert await ask(node, rpc) == ["0x1", "0x1"]
        for _ in range(4):  # a batch of one is tried again, and then larger ones
            await ask(node, rpc)
        assert not asked[-1]


async def test_a_node_that_refuses_everything_says_why():
    with RpcNode(refuse_alone) as node, pytest.raises(ChainError, match="batch limit"):
        await ask(node)


def often_by_status(visit: Visit) -> None:
    visit.send(b"", "429 Too Many Requests")


def often_later(visit: Visit) -> None:
    visit.send(b"", "503 Service Unavailable", "Retry-After: 0\r\n")


def often_of_the_whole(visit: Visit) -> None:
    visit.send(b'{"id":null,"error":{"code":-32005,"message":"daily request count exceeded, request rate limited"}}')


def often_of_one(visit: Visit) -> None:
    over = {"code": 429, "message": "over its compute units per second"}
    visit.send(
        json.dumps(
            [{"id": visit.calls[0]["id"], "result": "0x1"}, {"id": visit.calls[1]["id"], "error": over}]
        ).encode()
    )


@pytest.mark.parametrize("script", [often_by_status, often_later, often_of_the_whole, often_of_one])
async def test_a_node_that_is_asked_too_often_is_asked_again_while_there_is_time(script, monkeypatch):
    monkeypatch.setattr(rpc_module, "AGAIN_S", 0.01)
    with RpcNode(lambda visit: (script if visit.number < 3 else good)(visit)) as node:
        assert await ask(node) == ["0x1", "0x2"]
        assert node.visits == 4
    with RpcNode(script) as node:
        assert await fault(node, timeout=0.3) == "limited"
        assert node.visits > 1


async def test_a_node_that_says_at_once_is_asked_less_often_all_the_same(monkeypatch):
    monkeypatch.setattr(rpc_module, "AGAIN_S", 0.1)
    with RpcNode(often_later) as node:
        assert await fault(node, timeout=0.5) == "limited"
        assert node.visits <= 3


async def test_what_was_answered_is_not_asked_again(monkeypatch):
    """Else a node that takes few calls, and not often, would never answer all of many."""
    monkeypatch.setattr(rpc_module, "AGAIN_S", 0.001)
    heard = []

    def script(visit: Visit) -> None:
        if len(visit.calls) > 4:
            return refuse_alone(visit)
        if visit.number % 2:
            return often_by_status(visit)
        heard.extend(call["params"][0] for call in visit.calls)
        return visit.answer([call["params"][0] for call in visit.calls])

    with RpcNode(script) as node:
        assert await make(node.url).batch([Call("echo", (number,)) for number in range(16)], timeout=20) == list(
            range(16)
        )
    assert heard == list(range(16))


async def test_a_node_that_wants_a_longer_pause_than_there_is_time_is_left_alone():
    with RpcNode(lambda visit: visit.send(b"", "429 Too Many Requests", "Retry-After: 3600\r\n")) as node:
        assert await fault(node) == "limited"
        assert node.visits == 1


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Oops", "302 Found", "204 No Content"])
async def test_other_statuses_are_refusals(status):
    with RpcNode(lambda visit: visit.send(b"", status, "Location: http://127.0.0.1:1/\r\n")) as node:
        assert await fault(node) == "refused"
        assert node.visits == 1


async def test_ten_megabytes_are_not_read():
    left = []

    def script(visit: Visit) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        visit.sock.sendall(head)
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sent = 0
        try:
            while sent < 160:
                visit.sock.sendall(chunk)
                sent += 1
        except OSError:
            left.append(160 - sent)

    with RpcNode(script) as node:
        assert await fault(node) == "too_large"
        with trio.fail_after(20):
            while not left:
                await trio.sleep(0.01)
        assert left[0] > 40  # what kernels buffer was sent, not all of it
    with RpcNode(lambda visit: visit.send(b" " * 70000)) as node:
        assert await fault(node) == "too_large"


def silent(visit: Visit) -> None:
    visit.hang()


def drip(visit: Visit) -> None:
    visit.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(600):
        visit.sock.sendall(b" ")
        time.sleep(0.05)


def drip_headers(visit: Visit) -> None:
    visit.sock.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(600):
        visit.sock.sendall(b"A%d: b\r\n" % number if number % 5 == 0 and number < 400 else b"")
        time.sleep(0.05)


@pytest.mark.parametrize("script", [silent, drip, drip_headers])
async def test_a_deadline_holds_whatever_the_node_does_and_the_thread_is_free_again(script):
    with RpcNode(script) as node:
        rpc = make(node.url)
        await trio.to_thread.run_sync(_import_web3)  # which is not what is measured
        with trio.fail_after(20):  # less than any of them goes on
            assert await fault(node, rpc=rpc, timeout=0.3) == "deadline"
        node.script = good
        assert await ask(node, rpc, timeout=20) == ["0x1", "0x2"]


async def test_who_waits_behind_a_hanging_call_has_a_deadline_too():
    with RpcNode(silent) as node:
        rpc = make(node.url)
        results = []

        async def one(timeout: float) -> None:
            results.append(await fault(node, rpc=rpc, timeout=timeout))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 1.0)
            nursery.start_soon(one, 0.2)
        assert results == ["deadline", "deadline"]


async def test_calls_that_wait_together_share_a_batch():
    sizes = []

    def script(visit: Visit) -> None:
        sizes.append(len(visit.calls))
        visit.answer([call["params"][0] for call in visit.calls])

    with RpcNode(script) as node:
        rpc = make(node.url)
        found = {}

        async def one(number: int) -> None:
            found[number] = await rpc.shared([Call("echo", (number * 6 + place,)) for place in range(6)], timeout=20)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert found == {number: [number * 6 + place for place in range(6)] for number in range(50)}
        assert sum(sizes) == 300
        assert max(sizes) <= 100
        assert len(sizes) <= 5


async def test_who_leads_a_shared_batch_and_is_out_of_time_takes_nobody_along():
    def script(visit: Visit) -> None:
        if visit.number == 0:
            visit.hang()
        good(visit)

    with RpcNode(script) as node:
        rpc = make(node.url)
        await trio.to_thread.run_sync(_import_web3)
        found = []

        async def one(timeout: float) -> None:
            try:
                found.append(await rpc.shared(CALLS, timeout=timeout))
            except ChainError as error:
                found.append(error.fault.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0.3)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                nursery.start_soon(one, 20)
        assert found == ["deadline", ["0x1", "0x2"], ["0x3", "0x4"], ["0x5", "0x6"]]


async def test_a_shared_batch_that_is_not_answered_is_nobody_s():
    with RpcNode(half) as node:
        rpc = make(node.url)
        codes = []

        async def one() -> None:
            with pytest.raises(ChainError) as caught:
                await rpc.shared(CALLS, timeout=20)
            codes.append(caught.value.fault.code)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        assert codes == ["bad_answer"] * 5
        assert node.visits <= 2


async def test_cancelling_ends_the_exchange():
    with RpcNode(silent) as node:
        rpc = make(node.url)
        with trio.move_on_after(0.2):
            await ask(node, rpc, timeout=60)
        node.script = good
        assert await ask(node, rpc) == ["0x1", "0x2"]


async def test_a_connection_that_was_closed_while_idle_is_made_again():
    def script(visit: Visit) -> None:
        good(visit)
        if visit.number == 0:
            visit.sock.shutdown(socket.SHUT_RDWR)

    with RpcNode(script) as node:
        rpc = make(node.url)
        await ask(node, rpc)
        assert await ask(node, rpc) == ["0x1", "0x2"]
        assert node.connections == 2


async def test_an_answer_that_ends_early():
    def script(visit: Visit) -> None:
        visit.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
        visit.sock.shutdown(socket.SHUT_RDWR)

    with RpcNode(script) as node:
        assert await fault(node) in ("bad_answer", "unreachable")


async def test_an_answer_without_a_length_ends_with_the_connection():
    def script(visit: Visit) -> None:
        body = json.dumps([{"id": call["id"], "result": "0x1"} for call in visit.calls]).encode()
        visit.sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        visit.sock.shutdown(socket.SHUT_RDWR)

    with RpcNode(script) as node:
        rpc = make(node.url)
        for _ in range(2):
            assert await ask(node, rpc) == ["0x1", "0x1"]


async def test_nobody_there_and_no_url_in_the_message():
    with RpcNode(good) as node:
        url = node.url
    rpc = make(url + "/v2/secret-key")
    with pytest.raises(ChainError) as caught:
        await rpc.batch(CALLS, timeout=20)
    assert caught.value.fault.code == "unreachable"
    shown = f"{caught.value!r} {caught.value.fault} {rpc._wire!r}"
    assert "secret-key" not in shown


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "127.0.0.1:8545", "http://a/ b", "http://a:999999"])
def test_urls_that_are_none(url):
    with pytest.raises(ValueError, match=r"http://|[Pp]ort|URL"):
        Rpc(url)


@pytest.mark.parametrize(
    "answer", [None, 1, "", "0x", "1", "0xg", "0x" + "0" * 65, True, {}, Refused(1, "no"), "0x1\n", "０x1"]
)
def test_what_is_no_quantity(answer):
    with pytest.raises(ChainError):
        quantity(answer)


@pytest.mark.parametrize("answer", [None, 1, "", "0x1", "0xgg", Refused(1, "no"), "0x" + "00" * 31, "0x" + "ff" * 32])
def test_what_is_no_flag(answer):
    with pytest.raises(ChainError):
        flag(answer)


def test_results():
    assert quantity("0x0a") == 10
    assert data("0x") == b""
    assert data("0xaAbb", 2) == b"\xaa\xbb"
    assert flag("0x" + "00" * 31 + "01") is True
    assert flag("0x" + "00" * 32) is False


def _import_web3() -> None:
    import web3.providers.base  # noqa: F401
