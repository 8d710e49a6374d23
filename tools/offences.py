"""Every offence that a peer is charged for, read from the places where it is found, so that the table cannot differ.

raise RemoteProtocolError("code", "detail", penalty=10)    Ignored("code", "detail", 10)    charge(peer, "code", 10)
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from nexusd.services.rooms.exchange import FORGED_POINTS

SAYS_NO_MORE: Final = ("_blame", "Turned")
ROOT: Final = Path(__file__).parent.parent

PLACES: Final = (
    ("Yamux", "protocols/nexusd_protocols/yamux"),
    ("Noise", "protocols/nexusd_protocols/noise"),
    ("WebSocket", "nexusd/host/websocket_connection.py"),
    ("Streams", "protocols/nexusd_protocols/multistream"),
    ("Streams", "nexusd/host/router.py"),
    ("Streams", "nexusd/host/channel.py"),
    ("Streams", "nexusd/host/identify.py"),
    ("GossipSub", "protocols/nexusd_protocols/gossipsub"),
    ("GossipSub", "protocols/nexusd_protocols/pubsub"),
    ("GossipSub", "nexusd/host/pubsub"),
    ("Kademlia", "protocols/nexusd_protocols/kad"),
    ("Relays", "protocols/nexusd_protocols/relay"),
    ("Bitswap", "protocols/nexusd_protocols/bitswap"),
    ("Frames of /nexus/… streams", "protocols/nexusd_protocols/ndjson.py"),
    ("Frames of /nexus/… streams", "protocols/nexusd_protocols/frames.py"),
    ("Frames of /nexus/… streams", "protocols/nexusd_protocols/agent_proof.py"),
    ("Direct messages", "protocols/nexusd_protocols/dm"),
    ("Calls", "protocols/nexusd_protocols/invoke"),
    ("Handshake", "protocols/nexusd_protocols/handshake"),
    ("History and chat-sync", "protocols/nexusd_protocols/chatsync"),
    ("History and chat-sync", "nexusd/services/rooms/answering.py"),
    ("History and chat-sync", "nexusd/services/rooms/batches.py"),
    ("History and chat-sync", "nexusd/services/rooms/exchange.py"),
    ("History and chat-sync", "nexusd/services/rooms/intake.py"),
    ("Rooms", "protocols/nexusd_protocols/room"),
    ("Rooms", "nexusd/services/rooms/receiving.py"),
)
"""Which pages of the table are found where, in their order."""


class Offence(NamedTuple):
    """One row."""

    code: str
    points: int
    detail: str


def offences() -> dict[str, list[Offence]]:
    """The rows of each page, the worst first. What costs nothing is left out."""
    pages: dict[str, dict[tuple[str, int], set[str]]] = {}
    for page, place in PLACES:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for code, points, detail in _found(file):
                if points:
                    pages.setdefault(page, {}).setdefault((code, points), set()).add(detail)
    return {
        page: [
            Offence(code, points, "; ".join(sorted(filter(None, rows[code, points]))))
            for code, points in sorted(rows, key=lambda row: (-row[1], row[0]))
        ]
        for page, rows in pages.items()
    }


def _found(file: Path) -> Iterator[Offence]:
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removeprefix("protocols.")
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        match name:
            case "RemoteProtocolError":
                code, points = _text(node.args, 0), _number(module, _keyword(node, "penalty"), 1)
            case "Ignored":
                code, points = _text(node.args, 0), _number(module, _at(node.args, 2), 0)
            case "_fail":
                code, points = _text(node.args, 0), _number(module, _at(node.args, 3), 10)
            case "_charge" | "charge" | "_penalise" | "penalise":
                code, points = _text(node.args, 1), _number(module, _at(node.args, 2), 0)
            case "_blame":
                code, points = _text(node.args, 0), _number(module, _at(node.args, 1), 0)
            case "Turned":
                # what nobody can have found good, for whoever brought it
                code, points = _text(node.args, 0), FORGED_POINTS if _keyword(node, "lie") else 0
            case _:
                continue
        if code and points is not None:
            yield Offence(
                code, points, "" if name in SAYS_NO_MORE or "harge" in name or "enal" in name else _text(node.args, 1)
            )


def _at(args: list[ast.expr], index: int) -> ast.expr | None:
    return args[index] if index < len(args) else None


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)


def _text(args: list[ast.expr], index: int) -> str:
    """A text, with an ellipsis for what is filled in; empty where it is none, or nothing but filled in."""
    match _at(args, index):
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
            return text if any(c.isalpha() for c in text) else ""
        case _:
            return ""


def _number(module: str, node: ast.expr | None, default: int) -> int | None:
    """A number or the name of one; None where it is handed on from elsewhere."""
    match node:
        case None:
            return default
        case ast.Constant(int(number)):
            return number
        case ast.Name(name):
            found = getattr(importlib.import_module(module), name, None)
            return found if isinstance(found, int) else None
        case _:
            return None
