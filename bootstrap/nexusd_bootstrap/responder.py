"""zeroconf for Trio. What it does blocks, so it is done in threads: one thing after the other, and none behind `close`.

A thread goes on when nobody waits for it any more, and one that was asked for may begin late. Without turns it would
register on an event loop that is closing: zeroconf leaves coroutines then that nobody runs, or announces who has said
goodbye.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import trio
from zeroconf import DNSOutgoing, InterfaceChoice, RecordUpdateListener, ServiceInfo, Zeroconf

_GROUP: Final = "224.0.0.251"


class Responder:
    """Opened once, and closed whatever became of that. What is cancelled goes on, if it has begun."""

    def __init__(self, interfaces: Sequence[str] | None) -> None:
        """`interfaces` as in `Mdns`."""
        self._interfaces = None if interfaces is None else list(interfaces)
        self._turn = threading.Lock()
        self._closed = False
        self._zeroconf: Any = None

    async def open(self, listener: RecordUpdateListener) -> None:
        """Listen to the group. Raises OSError or RuntimeError where no multicast socket can be opened."""
        await self._in_turn(partial(self._open, listener))

    def send(self, out: DNSOutgoing) -> None:
        """Send a packet soon."""
        self._zeroconf.send(out)

    async def register(self, info: ServiceInfo) -> None:
        """Announce a service three times, which takes half a second, and answer for it from then on."""
        # no probing, which takes a second more: nobody else has the name
        await self._in_turn(partial(self._zeroconf.register_service, info, cooperating_responders=True))

    async def update(self, info: ServiceInfo) -> None:
        """The same for one that was registered, and is another now."""
        await self._in_turn(partial(self._zeroconf.update_service, info))

    async def rescan(self) -> None:
        """Look for interfaces that came or went."""
        await self._in_turn(self._zeroconf.update_interfaces)

    async def close(self) -> None:
        """Say goodbye to the network, which ends our record in the caches of others, once nothing else is under way."""
        await trio.to_thread.run_sync(self._close, abandon_on_cancel=True)

    # --- in threads ---------------------------------------------------------------------------------------------------
    async def _in_turn(self, do: Callable[[], object]) -> None:
        def when_it_comes() -> None:
            with self._turn:
                if not self._closed:
                    do()

        # even the constructor may wait for ever: where descriptors are short, its event loop does not come
        await trio.to_thread.run_sync(when_it_comes, abandon_on_cancel=True)

    def _open(self, listener: RecordUpdateListener) -> None:
        if self._interfaces is None:
            self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All)
        else:
            _probe(self._interfaces)
            self._zeroconf = Zeroconf(interfaces=self._interfaces)
        self._zeroconf.add_listener(listener, None)

    def _close(self) -> None:
        with self._turn:
            self._closed = True
            if self._zeroconf is not None:
                self._zeroconf.close()


def _probe(interfaces: Sequence[str]) -> None:
    """Raise OSError for an interface that is none: zeroconf leaves its sockets open when it fails on one."""
    for interface in interfaces:
        if ":" not in interface:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                member = socket.inet_aton(_GROUP) + socket.inet_aton(interface)
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
