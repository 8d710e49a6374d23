"""Limits fit one another, so that what one part lets through another does not choke on."""

from __future__ import annotations

import ast
from pathlib import Path

from nexusd_protocols import limits
from nexusd_protocols.room import message as room
from nexusd_protocols.room.topics import room_topic
from tests.harness.people import ALICE


def test_the_longest_topic_fits():
    assert len(room_topic("r" * limits.ROOM_ID_CHARS)) <= limits.TOPIC_BYTES


def test_a_line_has_room_for_its_content_when_json_escapes_all_of_it():
    assert limits.DM_LINE_BYTES >= 2 * limits.DM_CONTENT_BYTES
    assert limits.INVOKE_LINE_BYTES >= 2 * limits.INVOKE_MAX_OUTPUT_BYTES
    assert limits.RPC_LINE_BYTES > limits.INVOKE_LINE_BYTES


def test_a_peer_id_and_a_uuid_fit_their_fields():
    assert len(ALICE.peer_id) <= limits.SENDER_CHARS
    assert len("0199c82c-c800-7abc-8def-0123456789ab") <= limits.MESSAGE_ID_CHARS


def test_the_fullest_presence_fits_a_message():
    data = room.presence(
        topic="/nexus/room/" + "r" * 64,
        sender=ALICE.peer_id,
        message_id="i" * 64,
        timestamp=2**48 - 1,
        status="offline",
        capabilities=["c" * limits.CAPABILITY_NAME_CHARS] * limits.PROFILE_CAPABILITIES,
        agent_name="é" * limits.DISPLAY_NAME_CHARS,
        agent_type="t" * limits.DISPLAY_NAME_CHARS,
        version="v" * limits.DISPLAY_NAME_CHARS,
    )
    assert len(data) < limits.ROOM_MESSAGE_BYTES


def test_two_heartbeats_pass_before_a_member_is_stale():
    assert limits.PRESENCE_STALE_MS >= 2 * limits.PRESENCE_INTERVAL_MS
    assert limits.PRESENCE_AGE_MS > limits.CLOCK_AHEAD_MS


def test_every_limit_is_a_positive_number():
    tree = ast.parse(Path(limits.__file__).read_text())
    names = [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)]
    assert len(names) > 20
    assert all(getattr(limits, name) > 0 for name in names)
