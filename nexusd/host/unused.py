"""What of py-libp2p a daemon has no use for, and does not load.

`import libp2p` loads all of its transports, discoveries and stores, and with them QUIC, ACME, two HTTP clients and a
DHT: a twelfth of the start, and a fifth of the memory. Where what we do use names a class of theirs, in a type or an
`except`, it finds a class that cannot be made.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, NoReturn

UNUSED: Final = frozenset(
    {
        "dns.quic",  # nobody is asked for a name over QUIC
        "libp2p.bitswap",  # nexusd.host.bitswap
        "libp2p.discovery",  # nexusd_bootstrap
        "libp2p.kad_dht",  # nexusd.host.dht
        "libp2p.peer.persistent",  # nexusd.store.peers
        "libp2p.rcmgr.prometheus_exporter",  # nexusd.services.metrics
        "libp2p.relay",  # nexusd.host.relay
        "libp2p.security.secio",  # nobody speaks it
        "libp2p.security.tls",  # Noise is what all speak
        "libp2p.transport.quic",
        "libp2p.transport.webrtc",
        "libp2p.transport.websocket",  # nexusd.host.websockets
        "libp2p.transport.webtransport",
    }
)


class _Absent(ModuleType):
    """A module in which every name is a class that cannot be made."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise RuntimeError(f"{self.__name__}.{name} is not loaded: nexusd.host.unused says why")

        # an exception, because some are caught
        found = type(name, (Exception,), {"__module__": self.__name__, "__new__": refuse})
        setattr(self, name, found)
        return found


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Ours for the modules named above and all below them."""
        parts = fullname.split(".")
        if any(".".join(parts[:count]) in UNUSED for count in range(2, len(parts) + 1)):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Nothing is in it yet."""
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nor will be."""


def leave_out() -> None:
    """Load none of it from now on, in this process: call it before anything imports libp2p."""
    if "libp2p" not in sys.modules:
        sys.meta_path.insert(0, _Finder())
