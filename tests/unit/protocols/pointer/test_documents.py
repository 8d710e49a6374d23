from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from nexusd_protocols import limits
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.content.retention import CLASSES
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.pointer.documents import (
    AgentProfile,
    CallLimits,
    CapabilityDocument,
    DocumentError,
    RetentionDefaults,
    RoomManifest,
    StorageOffer,
    read,
    write,
)
from nexusd_protocols.pointer.keys import Key
from tests.harness.people import ALICE, BOB
from tests.harness.vectors import named, vectors

DOC = vectors("pointer")["documents"]
SHAPES = {
    "profile-pointer": AgentProfile,
    "room-pointer": RoomManifest,
    "capability-pointer": CapabilityDocument,
    "storage-offer": StorageOffer,
}
PROFILE = Key("profile-pointer", ALICE.peer_id)
UPPER = Key("capability-pointer", ALICE.peer_id, "upper")

short = st.text(max_size=limits.DISPLAY_NAME_CHARS)
texts = st.text(max_size=limits.DESCRIPTION_CHARS)
times = st.integers(0, 2**48 - 1)
counts = st.integers(0, 2**53 - 1)


@pytest.mark.parametrize("case", **named(DOC["accepted"]))
def test_accepted(case):
    key = Key.parse(case["key"])
    document = read(SHAPES[key.kind], key, case["data"].encode())
    cid, data = write(document)
    assert (str(cid), data.decode()) == (case["cid"], case["data"])


@pytest.mark.parametrize("case", **named(DOC["refused"]))
def test_refused(case):
    key = Key.parse(case["key"])
    with pytest.raises(DocumentError) as caught:
        read(SHAPES[key.kind], key, case["data"].encode())
    assert caught.value.code == case["code"]


@given(
    name=short,
    description=texts,
    capabilities=st.lists(short, max_size=32),
    transports=st.lists(short, max_size=16),
    role=st.sampled_from(["light", "full", "storage"]),
    created=times,
)
def test_a_profile_is_read_as_it_was_written(name, description, capabilities, transports, role, created):
    profile = AgentProfile(
        peer_id=ALICE.peer_id,
        name=name,
        description=description,
        capabilities=tuple(capabilities),
        transports=tuple(transports),
        role=role,
        created_at=created,
        updated_at=created,
    )
    cid, data = write(profile)
    assert cid == Cid.of(JSON, data)
    assert read(AgentProfile, PROFILE, data) == profile


amounts = st.integers(0, 10**77).map(str)
prices = st.builds(Price, amount=amounts, currency=st.just("USDC")) | st.builds(
    Price,
    amount=amounts,
    currency=st.just("EURC"),
    network=st.sampled_from(["base", "eip155:5"]),
    unit=st.just("token_out"),
    unit_price=amounts,
    per=st.integers(1, 10**9),
)


@given(
    description=texts,
    price=st.none() | prices,
    several=st.lists(prices, max_size=limits.PAYMENT_OFFERS).map(tuple) | st.just(UNSET),
    bounds=st.builds(CallLimits, max_input_bytes=counts, max_duration_ms=counts, max_concurrent=counts),
    streaming=st.booleans(),
    updated=times,
)
def test_a_capability_is_read_as_it_was_written(description, price, several, bounds, streaming, updated):
    document = CapabilityDocument(
        name="upper",
        protocol="/nexus/invoke/1.1.0",
        description=description,
        peer_id=ALICE.peer_id,
        price=price,
        prices=several,
        limits=bounds,
        streaming=streaming,
        updated_at=updated,
    )
    assert read(CapabilityDocument, UPPER, write(document)[1]) == document
    assert document.asked == (several or (() if price is None else (price,)))


def test_more_prices_than_anybody_looks_at_are_refused():
    price = Price(amount="1", currency="USDC")
    document = CapabilityDocument(name="upper", protocol="x", peer_id=ALICE.peer_id, prices=(price,) * 17, updated_at=0)
    with pytest.raises(DocumentError, match="bad_document"):
        write(document)


def test_what_later_versions_add_is_passed_over():
    data = write(AgentProfile(peer_id=ALICE.peer_id, created_at=1, updated_at=2))[1]
    more = data[:-1] + b',"mood":{"happy":true}}'
    assert read(AgentProfile, PROFILE, more) == read(AgentProfile, PROFILE, data)


def test_what_nobody_would_take_is_not_written():
    with pytest.raises(DocumentError, match="bad_document"):
        write(AgentProfile(peer_id=ALICE.peer_id, name="x" * 65, created_at=1, updated_at=2))


def test_too_large():
    data = b'{"x":"' + b"x" * limits.POINTER_DOCUMENT_BYTES + b'"}'
    with pytest.raises(DocumentError, match="too_large"):
        read(AgentProfile, PROFILE, data)


@pytest.mark.parametrize("data", [b"[" * 60_000, b'{"a":' * 10_000, b"\xff\xfe", b"null", b'{"schema":1e999}'])
def test_what_is_nothing_like_it(data):
    with pytest.raises(DocumentError) as caught:
        read(AgentProfile, PROFILE, data)
    assert caught.value.code in ("bad_json", "bad_document")


def test_a_document_is_of_the_kind_of_its_key():
    data = write(AgentProfile(peer_id=ALICE.peer_id, created_at=1, updated_at=2))[1]
    with pytest.raises(ValueError, match="does not point to"):
        read(AgentProfile, UPPER, data)
    with pytest.raises(DocumentError, match="foreign_document"):
        read(AgentProfile, Key("profile-pointer", BOB.peer_id), data)


def test_what_the_published_network_recommends():
    named_by_us = {retention: RetentionDefaults.of(retention).recommended_class for retention in CLASSES}
    assert named_by_us == {
        "ephemeral": "ephemeral",
        "cache": "cache",
        "retained": "retained",
        "mirrored": "retained",
        "archival": "retained",
    }
