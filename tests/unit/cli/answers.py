"""What a daemon answers, for the tests of all that shows it."""

from __future__ import annotations

from nexusd_protocols.rpc import schema
from tests.harness import people

ALICE, BOB, MALLORY = (str(person.peer_id) for person in (people.ALICE, people.BOB, people.MALLORY))
THEN = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
STATUS = schema.NodeStatus(
    name="alice",
    peer_id=ALICE,
    agent=ALICE,
    version="0.1.0",
    role="full",
    addresses=[f"/ip4/127.0.0.1/tcp/4001/p2p/{ALICE}", f"/ip4/127.0.0.1/tcp/4002/ws/p2p/{ALICE}"],
    pid=42,
    started_at=THEN,
    uptime_ms=7_300_000,
    data_dir="/data/alice",
    socket="/data/alice/nexusd.sock",
    peers_connected=1,
    peers_known=3,
    connections=schema.ConnectionUsage(open=1, limit=128, inbound=0, inbound_limit=96, in_transit=0, refused=7),
    rooms=["general", "news"],
    capabilities=[],
    discovery={"mdns": "on 127.0.0.1", "bootstrap": "2 addresses"},
)
MESSAGE = schema.RoomMessage(
    room="general",
    message_id="m1",
    sender=BOB,
    sender_name="bob",
    timestamp=THEN,
    received_at=THEN,
    content="hello\nworld",
    format="text/plain",
    digest="00" * 32,
    position=7,
)
DM = schema.DirectMessage(
    peer=BOB,
    direction="in",
    message_id="d1",
    sender=BOB,
    sender_name="bob",
    timestamp=THEN,
    content="just us",
    format="text/plain",
    status="received",
    position=3,
)
UPPER = schema.Capability(name="upper", available=True, description="louder", kind="command", queue_ms=1500)
