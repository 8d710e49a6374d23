"""RPCs as bytes, against specs/gossipsub.md §2 and the vectors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.gossipsub import codec
from nexusd_protocols.gossipsub.params import Bounds, Params
from nexusd_protocols.gossipsub.rpc import (
    Control,
    Graft,
    IDontWant,
    IHave,
    IWant,
    Malformed,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
)
from nexusd_protocols.identity import Signer, peer_id_bytes
from nexusd_protocols.pubsub import rpc_pb2
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.people import ALICE, BOB
from tests.harness.vectors import named, vectors

VECTORS = vectors("gossipsub")


def rpc_of(row):
    """The RPC that a vector describes."""
    control = row.get("control")
    return Rpc(
        subscriptions=tuple(Subscription(each["topic"], each["subscribe"]) for each in row.get("subscriptions", [])),
        messages=tuple(
            SignedMessage.sign(
                Signer(bytes.fromhex(each["seed"])), each["topic"], each["data"].encode(), int(each["seqno"])
            )
            for each in row.get("publish", [])
        ),
        control=None
        if control is None
        else Control(
            ihave=tuple(IHave(each["topic"], ids(each)) for each in control.get("ihave", [])),
            iwant=tuple(IWant(ids(each)) for each in control.get("iwant", [])),
            graft=tuple(Graft(each["topic"]) for each in control.get("graft", [])),
            prune=tuple(
                Prune(
                    each["topic"],
                    each.get("backoff"),
                    tuple(
                        PeerInfo(bytes.fromhex(peer["peerId"]), bytes.fromhex(peer.get("signedPeerRecord", "")))
                        for peer in each.get("peers", [])
                    ),
                )
                for each in control.get("prune", [])
            ),
            idontwant=tuple(IDontWant(ids(each)) for each in control.get("idontwant", [])),
        ),
    )


def ids(row):
    return tuple(bytes.fromhex(each) for each in row["messageIds"])


@pytest.mark.parametrize("row", **named(VECTORS["rpcs"]))
def test_a_golden_rpc(row):
    rpc = rpc_of(row)
    assert codec.encode(rpc).hex() == row["encoded"]
    assert codec.decode(bytes.fromhex(row["encoded"])) == rpc


@pytest.mark.parametrize("row", **named(VECTORS["read"]))
def test_what_is_read_and_partly_dropped(row):
    rpc = codec.decode(bytes.fromhex(row["encoded"]))
    assert [(each.topic, each.code, each.blame) for each in rpc.malformed] == [
        (each["topic"], each["code"], each["blame"]) for each in row["malformed"]
    ]
    assert rpc.dropped == row["dropped"]
    kept = Rpc(rpc.subscriptions, rpc.messages, rpc.control)
    assert kept == rpc_of(row)


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_a_refused_encoding(row):
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(bytes.fromhex(row["encoded"]))
    assert (caught.value.code, caught.value.penalty) == (row["code"], 10)


def test_an_rpc_over_the_bound():
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(bytes(4 * limits.MIB + 1))
    assert (caught.value.code, caught.value.penalty) == ("rpc_too_large", 10)


topics = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
wire_ids = st.lists(st.binary(min_size=1, max_size=64), max_size=5).map(tuple)
rpcs = st.builds(
    Rpc,
    subscriptions=st.lists(st.builds(Subscription, topics, st.booleans()), max_size=4).map(tuple),
    messages=st.lists(
        st.builds(
            SignedMessage.sign,
            st.sampled_from([ALICE, BOB]),
            topics,
            st.binary(min_size=1, max_size=100),
            st.integers(0, 2**64 - 1),
        ),
        max_size=3,
    ).map(tuple),
    control=st.none()
    | st.builds(
        Control,
        ihave=st.lists(st.builds(IHave, topics, wire_ids), max_size=3).map(tuple),
        iwant=st.lists(st.builds(IWant, wire_ids), max_size=3).map(tuple),
        graft=st.lists(st.builds(Graft, topics), max_size=3).map(tuple),
        prune=st.lists(
            st.builds(
                Prune,
                topics,
                st.none() | st.integers(0, 2**64 - 1),
                st.lists(
                    st.builds(PeerInfo, st.binary(min_size=1, max_size=40), st.binary(max_size=40)), max_size=3
                ).map(tuple),
            ),
            max_size=3,
        ).map(tuple),
        idontwant=st.lists(st.builds(IDontWant, wire_ids), max_size=3).map(tuple),
    ),
)


@given(rpcs)
@settings(deadline=None)
def test_decode_is_the_inverse_of_encode(rpc):
    assert codec.decode(codec.encode(rpc)) == rpc


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_an_rpc_or_refused(raw):
    try:
        rpc = codec.decode(raw)
    except RemoteProtocolError:
        return
    assert codec.decode(codec.encode(rpc)).messages == rpc.messages


TIGHT = Bounds(
    rpc_messages=2,
    rpc_entries=3,
    rpc_ids=4,
    rpc_ids_unread=1,
    px_peers=1,
    px_record_bytes=5,
    message_id_bytes=6,
    topic_bytes=7,
)


@pytest.mark.parametrize(
    ("rpc", "kept", "dropped"),
    [
        pytest.param(
            Rpc(subscriptions=tuple(Subscription(name, True) for name in "abcde")),
            Rpc(subscriptions=tuple(Subscription(name, True) for name in "abc")),
            2,
            id="subscriptions",
        ),
        pytest.param(
            Rpc(subscriptions=(Subscription("é" * 4, True), Subscription("", True), Subscription("é" * 3, False))),
            Rpc(subscriptions=(Subscription("é" * 3, False),)),
            2,
            id="names are bytes",
        ),
        pytest.param(
            Rpc(control=Control(ihave=(IHave("t", (b"1", b"2", b"3")), IHave("t", (b"4", b"5")), IHave("u", (b"6",))))),
            Rpc(control=Control(ihave=(IHave("t", (b"1", b"2", b"3")), IHave("t", (b"4",)), IHave("u", ())))),
            2,
            id="ids of all IHAVEs together",
        ),
        pytest.param(
            Rpc(control=Control(iwant=(IWant((b"1" * 7, b"2", b"")), IWant((b"3",) * 4)))),
            Rpc(control=Control(iwant=(IWant((b"2",)), IWant((b"3",) * 3)))),
            2,
            id="ids that are too long or empty",
        ),
        pytest.param(
            Rpc(control=Control(idontwant=(IDontWant((b"1",) * 5),) * 4)),
            Rpc(control=Control(idontwant=(IDontWant((b"1",) * 4), IDontWant(()), IDontWant(())))),
            12,
            id="ids and entries",
        ),
        pytest.param(
            Rpc(control=Control(graft=(Graft("t"),) * 4, prune=(Prune("t" * 8), Prune("t")))),
            Rpc(control=Control(graft=(Graft("t"),) * 3, prune=(Prune("t"),))),
            2,
            id="grafts and prunes",
        ),
        pytest.param(
            Rpc(control=Control(prune=(Prune("t", 1, (PeerInfo(b"p"), PeerInfo(b"q"))),))),
            Rpc(control=Control(prune=(Prune("t", 1, (PeerInfo(b"p"),)),))),
            1,
            id="peers",
        ),
        pytest.param(
            Rpc(
                control=Control(
                    prune=(Prune("t", 1, (PeerInfo(b"p", b"r" * 6),)), Prune("t", 1, (PeerInfo(b"p" * 7),)))
                )
            ),
            Rpc(control=Control(prune=(Prune("t", 1), Prune("t", 1)))),
            2,
            id="records and ids of peers",
        ),
    ],
)
def test_what_is_over_a_bound_is_dropped_and_counted(rpc, kept, dropped):
    read = codec.decode(codec.encode(rpc), TIGHT)
    assert read.dropped == dropped
    assert Rpc(read.subscriptions, read.messages, read.control) == kept


def test_a_few_ids_over_the_bound_are_not_read_and_no_fault():
    """As one RPC of js-libp2p offers what is in two busy rooms."""
    both = Rpc(control=Control(ihave=(IHave("t", (b"1", b"2", b"3")), IHave("u", (b"4", b"5")))))
    assert codec.decode(codec.encode(both), TIGHT) == Rpc(
        control=Control(ihave=(IHave("t", (b"1", b"2", b"3")), IHave("u", (b"4",))))
    )
    many = tuple(b"%d" % number for number in range(Params().max_ihave_length))
    ten = tuple(IHave(f"room {number}", many) for number in range(10))
    assert codec.decode(codec.encode(Rpc(control=Control(ihave=ten)))).dropped == 0
    assert codec.decode(codec.encode(Rpc(control=Control(ihave=(*ten, IHave("t", (b"1",))))))).dropped == 45_001


def test_messages_over_the_bound_are_dropped():
    messages = tuple(SignedMessage.sign(ALICE, "t", b"x", number) for number in range(3))
    read = codec.decode(codec.encode(Rpc(messages=messages)), TIGHT)
    assert read.messages == messages[:2]
    assert read.dropped == 1


@pytest.mark.parametrize(
    ("change", "topic", "code", "blame"),
    [
        ({"from_id": b""}, "t", "bad_sender", False),
        ({"key": b"k"}, "t", "bad_key", True),
        ({"seqno": b""}, "t", "bad_seqno", True),
        ({"topic": ""}, None, "bad_topic", True),
        ({"topic": "t" * 10_000}, None, "bad_topic", True),
        ({"signature": b""}, "t", "bad_signature", True),
        ({"data": b""}, "t", "empty", False),
        ({"data": bytes(limits.ROOM_MESSAGE_BYTES + 1)}, "t", "too_large", False),
    ],
)
def test_a_message_that_is_none(change, topic, code, blame):
    good = SignedMessage.sign(ALICE, "t", b"x", 1)
    fields = {
        "from_id": peer_id_bytes(good.sender),
        "data": good.data,
        "seqno": good.seqno,
        "topic": good.topic,
        "signature": good.signature,
    }
    wire = rpc_pb2.RPC(publish=[rpc_pb2.Message(**fields | change), rpc_pb2.Message(**fields)])
    rpc = codec.decode(wire.SerializeToString())
    assert rpc.malformed == (Malformed(topic, code, blame),)
    assert rpc.messages == (good,)


def test_a_million_subscriptions_cost_no_million_objects():
    rpc = codec.decode(b"\x0a\x00" * (limits.MIB // 2))
    assert rpc.subscriptions == ()
    assert rpc.dropped == limits.MIB // 2
