"""Pointers: the vectors, and that nobody can make, change, move or bring back one of somebody else's."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.pointer.envelope import (
    CODES,
    NOTHING,
    PointerError,
    newest,
    read,
    sign,
    supersedes,
    valid_until,
    withdraw,
)
from nexusd_protocols.pointer.keys import KINDS, TTL_MS, Key, is_named
from tests.harness.people import ALICE, BOB, MALLORY
from tests.harness.vectors import named, vectors

DOC = vectors("pointer")
NOW = 1_760_000_000_000
CID = Cid.of(JSON, b"{}")
PROFILE = Key("profile-pointer", ALICE.peer_id)
LAB = Key("room-pointer", ALICE.peer_id, "lab")
HALL = Key("room-pointer", ALICE.peer_id, "hall")

cids = st.builds(lambda data: Cid.of(JSON, data), st.binary(max_size=8))
keys = st.sampled_from(KINDS).map(lambda kind: Key(kind, ALICE.peer_id, "lab" if is_named(kind) else ""))
seqs = st.integers(0, 2**53 - 1)


def code_of(key: Key, value: bytes, now: int = NOW) -> str:
    with pytest.raises(PointerError) as caught:
        read(str(key), value, now)
    return caught.value.code


@pytest.mark.parametrize("case", **named(DOC["accepted"]))
def test_accepted(case):
    value = case["value"].encode()
    pointer = read(case["key"], value, case["now"])
    assert {
        "kind": pointer.key.kind,
        "issuer": pointer.key.issuer,
        "subject": pointer.key.name,
        "cid": str(pointer.cid),
        "seq": pointer.seq,
        "issuedAt": pointer.issued_at,
        "expiresAt": pointer.expires_at,
        "withdrawn": pointer.withdrawn,
        "validUntil": valid_until(value),
    } == case["expect"]


@pytest.mark.parametrize("case", **named(DOC["accepted"]))
def test_signing_gives_the_same_bytes(case):
    told = case["expect"]
    key, lifetime = Key.parse(case["key"]), told["expiresAt"] - told["issuedAt"]
    if told["withdrawn"]:
        value = withdraw(ALICE, key, seq=told["seq"], now=told["issuedAt"])
    else:
        value = sign(ALICE, key, Cid.parse(told["cid"]), seq=told["seq"], now=told["issuedAt"], ttl=lifetime)
    assert value == case["value"].encode()


@pytest.mark.parametrize("case", **named(DOC["refused"]))
def test_refused(case):
    with pytest.raises(PointerError) as caught:
        read(case["key"], case["value"].encode(), case["now"])
    assert caught.value.code == case["code"]


def test_the_vectors_show_every_reason():
    assert {case["code"] for case in DOC["refused"]} == set(CODES) - {"downgraded"}


@pytest.mark.parametrize("case", **named(DOC["order"]))
def test_which_is_kept(case):
    values = [value.encode() for value in case["values"]]
    assert newest(values) == case["newest"]
    for one, other in itertools.permutations(set(values), 2):
        assert supersedes(one, other) != supersedes(other, one)
    assert not any(supersedes(value, values[case["newest"]]) for value in values)


@given(key=keys, cid=cids, seq=seqs, now=st.integers(0, 2**47), share=st.floats(0, 1))
def test_what_is_signed_is_read(key, cid, seq, now, share):
    ttl = max(1, round(TTL_MS[key.kind] * share))
    value = sign(ALICE, key, cid, seq=seq, now=now, ttl=ttl)
    pointer = read(str(key), value, now + ttl)
    assert (pointer.key, pointer.cid, pointer.seq, pointer.issued_at) == (key, cid, seq, now)
    assert pointer.expires_at == valid_until(value) == now + ttl
    assert not pointer.withdrawn
    assert len(value) <= limits.POINTER_BYTES
    assert code_of(key, value, now + ttl + 1) == "expired"


@given(at=st.integers(0), byte=st.integers(0, 255), key=st.sampled_from([PROFILE, LAB]))
def test_no_byte_can_be_changed(at, byte, key):
    value = bytearray(sign(ALICE, key, CID, seq=5, now=NOW))
    at %= len(value)
    if value[at] != byte:
        value[at] = byte
        assert code_of(key, bytes(value)) in CODES


@given(st.permutations([sign(ALICE, PROFILE, CID, seq=seq, now=NOW) for seq in (1, 5, 5, 9)]))
def test_the_newest_is_the_same_in_any_order(values):
    assert read(str(PROFILE), values[newest(values)], NOW).seq == 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_pointer_holds_under_its_own_key_alone(kind):
    own = Key(kind, ALICE.peer_id, "lab" if is_named(kind) else "")
    value = sign(ALICE, own, CID, seq=1, now=NOW)
    for other_kind, issuer, name in itertools.product(KINDS, (ALICE, BOB), ("lab", "hall")):
        other = Key(other_kind, issuer.peer_id, name if is_named(other_kind) else "")
        if other != own:
            expected = "wrong_kind" if other_kind != kind else "foreign_key" if issuer is BOB else "replayed"
            assert code_of(other, value) == expected


def test_mallory_cannot_sign_for_alice():
    with pytest.raises(PointerError, match="forged"):
        sign(MALLORY, PROFILE, CID, seq=9, now=NOW)


def test_mallory_cannot_bind_a_pointer_of_alices_to_another_key():
    value = json.loads(sign(ALICE, LAB, CID, seq=5, now=NOW))
    of_hall = json.loads(sign(ALICE, HALL, CID, seq=4, now=NOW))
    mixed = {**value, "key": of_hall["key"], "keySig": of_hall["keySig"]}
    assert code_of(HALL, json.dumps(mixed, separators=(",", ":")).encode()) == "forged"


def test_one_that_is_withdrawn_does_not_come_back():
    before = sign(ALICE, LAB, CID, seq=5, now=NOW)
    after = withdraw(ALICE, LAB, seq=6, now=NOW + 1)
    pointer = read(str(LAB), after, NOW + 1)
    assert pointer.withdrawn
    assert pointer.cid == NOTHING
    assert supersedes(after, before)
    assert not supersedes(before, after)
    # for as long as the first could still be taken for good, the second can
    assert valid_until(after) >= valid_until(before)
    assert code_of(LAB, before, valid_until(before) + 1) == "expired"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ttl": TTL_MS["profile-pointer"] + 1}, "bad_lifetime"),
        ({"ttl": -1}, "bad_lifetime"),
        ({"seq": -1}, "bad_envelope"),
        ({"seq": 2**53}, "bad_envelope"),
        ({"now": -1}, "bad_envelope"),
    ],
)
def test_what_nobody_would_take_is_not_signed(changes, code):
    with pytest.raises(PointerError) as caught:
        sign(ALICE, PROFILE, CID, **{"seq": 1, "now": NOW, **changes})
    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"[" * 900, b'{"a":' * 200, b"\xff" * 100, b"\x00", b'"' * 1024, b"9" * 1024])
def test_what_is_nothing_like_it(data):
    assert code_of(PROFILE, data) in ("bad_json", "bad_envelope")
    with pytest.raises(PointerError):
        valid_until(data)
