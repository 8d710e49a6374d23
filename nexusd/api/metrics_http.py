"""`GET /metrics` over HTTP, for Prometheus: off unless it is configured.

One request a connection, and few connections: a scraper comes every some seconds. Nothing is authenticated, so that
the configuration refuses an address that others reach unless it says so in a word of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import h11
import structlog
import trio

from nexusd.api.ports import MetricsService

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HEAD_BYTES: Final = 8 * 1024
"""Of a request line and headers: Prometheus sends 300."""
CONNECTIONS: Final = 8
"""At once; further ones are closed unanswered. One scraper needs one."""
SECONDS: Final = 10.0
"""For a request and its answer: Prometheus gives up after ten seconds by default."""

_READ_BYTES: Final = 4096


class MetricsAddressError(Exception):
    """The address for metrics cannot be listened on. The message says what to do."""


async def serve(
    host: str,
    port: int,
    metrics: MetricsService,
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled; started once listening, with the listeners. Raises MetricsAddressError."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise MetricsAddressError(
            f"Cannot listen on {host} port {port} for metrics: {error.strerror}; choose another metrics_listen"
        ) from error
    places = trio.CapacityLimiter(CONNECTIONS)
    await trio.serve_listeners(partial(_serve_one, metrics, places), listeners, task_status=task_status)


async def _serve_one(metrics: MetricsService, places: trio.CapacityLimiter, stream: trio.SocketStream) -> None:
    try:
        places.acquire_nowait()
    except trio.WouldBlock:
        await trio.aclose_forcefully(stream)
        return
    try:
        with trio.move_on_after(SECONDS):
            await _exchange(metrics, stream)
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        log.debug("metrics_client_gone")
    except Exception:
        log.exception("metrics_not_told")  # a fault of one answer is not the daemon's end
    finally:
        places.release()
        await trio.aclose_forcefully(stream)


async def _exchange(metrics: MetricsService, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    request: h11.Request | None = None
    try:
        request = await _request(connection, stream)
        if request is None:
            return
        status, headers, body = await _answer(metrics, request)
    except h11.RemoteProtocolError as error:
        status, headers, body = error.error_status_hint, [], f"{error}\n"
    data = body.encode()
    head = [("Content-Length", str(len(data))), ("Connection", "close"), *(headers or [("Content-Type", "text/plain")])]
    out = connection.send(h11.Response(status_code=status, headers=head)) or b""
    if request is None or request.method != b"HEAD":
        out += connection.send(h11.Data(data=data)) or b""
    out += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(out)
    await stream.send_eof()


async def _request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """What was asked, or None if the client went away. Raises h11.RemoteProtocolError."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await stream.receive_some(_READ_BYTES))


async def _answer(metrics: MetricsService, request: h11.Request) -> tuple[int, list[tuple[str, str]], str]:
    if request.target.partition(b"?")[0] != b"/metrics":
        return 404, [], "Metrics are at /metrics\n"
    if request.method not in (b"GET", b"HEAD"):
        return 405, [("Allow", "GET, HEAD")], ""
    return 200, [("Content-Type", CONTENT_TYPE)], (await metrics.expose()).text
