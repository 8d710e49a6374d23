"""What a daemon says that it charged its peers."""

from __future__ import annotations

import json

from tests.harness.daemon import Daemon


def charges(victim: Daemon, peer: str) -> list[str]:
    """For what the log says that a peer was charged."""
    lines = [json.loads(line) for line in victim.log_text().splitlines() if "peer_penalised" in line]
    return [line["reason"] for line in lines if line["peer"] == peer]
