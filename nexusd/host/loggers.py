"""py-libp2p's loggers, kept from the terminal.

It reports expected events (a peer that went away, a refused dial) as errors, through loggers without a handler, which
Python prints to stderr. And `swarm_connection` calls the functions of the logging module itself, which install a
handler on the root logger of whoever has none. What matters of all this reaches the daemon's log as events of the host.
"""

from __future__ import annotations

import logging
from typing import Final

from libp2p.network.connection import swarm_connection

_NOISY: Final = ("libp2p", "multiaddr", "trio-websocket", "libp2p.network.auto_connector")


def quieten(level: int = logging.CRITICAL) -> None:
    """Let only `level` and above through. Idempotent; for debugging py-libp2p itself, lower the level afterwards."""
    for name in _NOISY:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    swarm_connection.logging = logging.getLogger("libp2p.network.connection")
