"""Keys in text: the vectors, and that the time is linear."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import bip39
from nexusd_protocols.key_material import KINDS, contains, find, redact
from tests.harness.vectors import vectors

ROWS = vectors("payments")["keyMaterial"]


@pytest.mark.parametrize("row", ROWS, ids=[row["text"][:24] for row in ROWS])
def test_found(row):
    findings = find(row["text"])
    assert [[finding.kind, finding.start, finding.end] for finding in findings] == row["findings"]
    assert contains(row["text"]) is bool(findings)
    assert not contains(redact(row["text"]))


def test_each_kind_is_found():
    assert {kind for row in ROWS for kind, _, _ in row["findings"]} == set(KINDS)


HASH = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
PLAUSIBLE = (
    f"paid, transaction 0x{HASH}; the receipt is 019aca5e-7f6c-7d2e-8b7e-0a1b2c3d4e5f",
    f"see https://basescan.org/tx/0x{HASH} or https://etherscan.io/block/0x{HASH}",
    f'{{"transactionHash": "0x{HASH}", "blockHash": "0x{HASH}", "logIndex": "0x1"}}',
    f'{{"topics": ["0x{HASH}", "0x{HASH}"], "data": "0x{HASH}{HASH}"}}',
    f"    --hash=sha256:{HASH} \\\n    --hash=sha256:{HASH}",
    f"docker pull alpine@sha256:{HASH}",
    f"{HASH}  report.pdf\n{HASH} *photo.jpg",
    f"SHA-256 (report.pdf) is {HASH}, its digest: {HASH}, and txid {HASH}",
    f"my public key is {HASH}, the merkle root {HASH}",
    f"eip155:8453/833589fcd6edb6e08f4c7c32d4f71b54bda02913/{HASH[:40]}/{HASH}",
    "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913 has 5 USDC, and 12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
    "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG",
    "f01551220" + HASH,
    'password = os.environ["PASS"]; secret = bytes.fromhex(text); api_key = settings.get("key")',
    "this is what you need when you turn around and then walk the same way again until you see the old city",
)


@pytest.mark.parametrize("text", PLAUSIBLE, ids=[text[:24] for text in PLAUSIBLE])
def test_what_agents_say_of_digests_and_transactions_is_left_alone(text):
    assert find(text) == []


def test_what_nothing_tells_from_a_key_is_taken_for_one():
    # a hash without a word for it: refused, and sent on purpose where the policy lets one
    for text in (HASH, f"0x{HASH}", f"it is in 0x{HASH}", f"- {HASH}", f"request 0x{HASH}"):
        assert [finding.kind for finding in find(text)] == ["hex_key"]


@given(
    st.integers(0, 2**128 - 1),
    st.sampled_from([" ", "\n", ", ", "  ", '", "']),
    st.sampled_from(["", "keep them: ", "The "]),
)
def test_a_phrase_is_found_whatever_stands_between_its_words(entropy, between, before):
    check = hashlib.sha256(entropy.to_bytes(16, "big")).digest()[0] >> 4
    number = entropy << 4 | check
    listed = list(bip39.INDEX)
    words = [listed[number >> 11 * place & 2047] for place in reversed(range(12))]
    text = before + between.join(words)
    assert ("seed_phrase", len(text)) in [(finding.kind, finding.end) for finding in find(text)]
    wrong = number ^ 1
    words[-1] = listed[wrong & 2047]
    assert not bip39.is_phrase(words)


def test_what_is_around_stays():
    assert redact("use password=hunter22, then go") == "use [redacted password], then go"
    assert redact("nothing here") == "nothing here"


@given(st.lists(st.sampled_from([*(row["text"] for row in ROWS), " ", "\n", "x", "0x", "İ"]), max_size=12).map("".join))
def test_findings_are_in_order_and_apart(text):
    end = 0
    for finding in find(text):
        assert end <= finding.start < finding.end <= len(text)
        end = finding.end


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "seed is ",
        "password ",
        "password: ",
        "secret",
        "0x",
        "sk-",
        "a_",
        "api",
        "ab" * 32 + " ",
        "abandon ",
        "abandon " * 11 + "the ",
        "ciphertext: ",
        "CAAS" + "A" * 900,
    ],
    ids=lambda piece: piece[:16],
)
def test_the_time_is_linear(piece):
    def seconds(size):
        text = (piece * size)[:size]
        begin = time.process_time()
        find(text)
        return time.process_time() - begin

    # four times the text, and not sixteen times the time; another process may have been in the way
    assert any(seconds(200_000) < 10 * seconds(50_000) + 0.02 for _ in range(3))
