"""Bindings: the vectors, and that each part of what is bought changes the nonce."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.payments.binding import (
    EXTENSION,
    Context,
    extension,
    nonce,
    offer_digest,
    read_salt,
    request_digest,
)
from tests.harness.people import ALICE, BOB, CAROL
from tests.harness.vectors import vectors

DOC = vectors("payments")["binding"]
DIGESTS = st.binary(min_size=32, max_size=32)


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.mark.parametrize("row", DOC["requests"])
def test_requests(row):
    digest = request_digest(
        request_id=row["requestId"], caller=row["caller"], to_agent=row["toAgent"], content=raw(row["content"])
    )
    assert digest == raw(row["digest"])


@pytest.mark.parametrize("row", DOC["offers"])
def test_offers(row):
    assert offer_digest(row["accepted"]) == raw(row["digest"])
    backwards = dict(reversed(row["accepted"].items()))
    assert offer_digest(backwards) == raw(row["digest"])


@pytest.mark.parametrize("row", DOC["nonces"])
def test_nonces(row):
    context = Context(row["provider"], raw(row["request"]))
    assert nonce(context, raw(row["offer"]), raw(row["salt"])) == raw(row["nonce"])


@given(DIGESTS, DIGESTS, DIGESTS)
def test_each_part_counts(request, offer, salt):
    bought = nonce(Context(BOB.peer_id, request), offer, salt)
    other = bytes(byte ^ 1 for byte in request)
    assert bought == nonce(Context(BOB.peer_id, request), offer, salt)
    assert bought != nonce(Context(CAROL.peer_id, request), offer, salt)
    assert bought != nonce(Context(BOB.peer_id, other), offer, salt)
    assert bought != nonce(Context(BOB.peer_id, request), bytes(byte ^ 1 for byte in offer), salt)
    assert bought != nonce(Context(BOB.peer_id, request), offer, bytes(byte ^ 1 for byte in salt))


def test_who_asks_whom_for_what_counts():
    def digest(**changes):
        parts = {"request_id": "r1", "caller": ALICE.peer_id, "to_agent": None, "content": bytes(32)}
        return request_digest(**{**parts, **changes})

    digests = {
        digest(),
        digest(request_id="r2"),
        digest(caller=BOB.peer_id),
        digest(to_agent=BOB.peer_id),
        digest(content=b"\x01" * 32),
    }
    assert len(digests) == 5


@given(DIGESTS)
def test_a_salt_is_read_again(salt):
    assert read_salt(extension(salt)) == salt


@pytest.mark.parametrize("extensions", [None, {}, [], {"other": 1}])
def test_nothing_is_claimed(extensions):
    assert read_salt(extensions) is None


@pytest.mark.parametrize("claim", [None, {}, [], "0x", {"salt": "0x00"}, {"salt": 1}])
def test_a_malformed_claim(claim):
    with pytest.raises(ValueError, match="32 bytes"):
        read_salt({EXTENSION: claim})


def test_digests_have_their_length():
    with pytest.raises(ValueError, match="32 bytes"):
        nonce(Context(BOB.peer_id, b""), bytes(32), bytes(32))
    with pytest.raises(ValueError, match="float"):
        offer_digest({"amount": 0.1})
