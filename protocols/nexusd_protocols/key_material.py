"""Keys and passwords in text, before it leaves this host or is kept.

    find(text) -> where they are        redact(text) -> the text without them

What the published network looks for, and a little more: private keys in PEM, of libp2p and of this program, encrypted
ones of wallets (keystore V3), `sk-` and other vendors' keys, 32 bytes of hex, assignments of secrets, passwords and API
keys, bearer tokens, and the words that restore a wallet. A scan is a net with holes: it catches what is pasted by
mistake, not what is hidden on purpose. And it catches too much: 32 bytes of hex may be a digest. They are taken for one
where the text says so, right before them (`sha256:`, `tx 0x…`, `"blockHash": "0x…"`) or as `sha256sum` does behind
them, and else for a key.

Each pattern is tried only where its first word stands, and reads a bounded piece, but for the body of a PEM key, which
nothing else reads again; hex and words are read once. So the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import bip39

REDACTED: Final = "[redacted {kind}]"

_VALUE: Final = r"""(?!["'`]?\[redacted|[A-Za-z_][\w.]{0,64}[(\[])["'`]?[^\s"'`,;]{6,512}"""
"""What is assigned, unless it is gone already, or a call or a look-up in a program."""
_ASSIGN: Final = r"""["'`]?\s{0,4}(?:[:=]|=>)\s{0,4}"""
_BODY: Final = 64 * 1024  # an RSA key of 16,384 bits has 13 KB
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")

# kind: the first words that it begins with, in lower case; what follows from there
_KINDS: Final = {
    "private_key": (("-----begin",), r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----"),
    "provider_key": (
        ("sk-", "sk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox", "akia", "aiza", "glpat-", "hf_"),
        (
            r"(?<![A-Za-z0-9])(?:sk[-_][A-Za-z0-9_-]{16,200}|gh[pousr]_[A-Za-z0-9]{20,200}"
            r"|github_pat_[A-Za-z0-9_]{20,200}|xox[abprs]-[A-Za-z0-9-]{10,200}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}"
            r"|glpat-[A-Za-z0-9_-]{20,200}|hf_[A-Za-z0-9]{20,200})"
        ),
    ),
    "secret_key": (
        ("private", "secret", "signing", "wallet"),
        r"(?i:(?<![a-z0-9])(?:private|secret|signing|wallet)[ _-]?key" + _ASSIGN + r")" + _VALUE,
    ),
    "libp2p_key": (
        ("caesq", "caesy", "caisi", "caas", "08011240", "nexusd-ed25519"),
        (
            r"(?<![A-Za-z0-9+/])(?:CAESQ[A-Za-z0-9+/]{86}|CAESY[A-Za-z0-9+/]{129}|CAISI[A-P][A-Za-z0-9+/]{42}"
            r"|CAAS[A-Za-z0-9+/]{1000,16384})(?![A-Za-z0-9+/])={0,2}|(?<![0-9A-Za-z])08011240[0-9a-fA-F]{128}"
            r"(?![0-9A-Za-z])|nexusd-ed25519\s{1,2}[A-Za-z0-9+/]{43}="
        ),
    ),
    "keystore": (
        ("ciphertext",),
        r"(?i:ciphertext)[\"'\\]{0,2}\s{0,4}:\s{0,4}[\"'\\]{0,2}[0-9a-fA-F]{64}(?![0-9a-fA-F])",
    ),
    "password": (("pass", "pwd"), r"(?i:(?<![a-z0-9])(?:pass(?:word|phrase|wd)|pwd)" + _ASSIGN + r")" + _VALUE),
    "api_key": (
        ("api", "access", "auth", "client", "secret"),
        r"(?i:(?<![a-z0-9])(?:api[ _-]?key|access[ _-]?token|auth[ _-]?token|client[ _-]?secret|secret)"
        + (_ASSIGN + r")" + _VALUE),
    ),
    "bearer_token": (("bearer",), r"(?i:\bbearer)\s{1,4}[A-Za-z0-9._~+/=-]{16,2048}"),
    "seed_phrase": (
        ("seed", "recovery", "mnemonic", "backup"),
        r"(?i:(?<![a-z])(?:seed|recovery|mnemonic|backup)(?: phrase| words)?(?:\s{1,2}is\s{1,2}|"
        + (_ASSIGN + r"))(?:[a-z]{3,8}\s{1,2}){11,23}+[a-z]{3,8}"),
    ),
}
_PATTERNS: Final = [(kind, word, re.compile(pattern)) for kind, (words, pattern) in _KINDS.items() for word in words]

HEX_KEY: Final = "hex_key"
SEED_PHRASE: Final = "seed_phrase"
KINDS: Final = (*_KINDS, HEX_KEY)
"""Of key material, by their names in findings."""

_HEX: Final = re.compile(r"(?<![0-9A-Za-z])(?:0x)?[0-9a-fA-F]{64}(?![0-9A-Za-z])")
_DIGEST_BEFORE: Final = re.compile(
    r"(?:hash(?:es)?|digests?|checksum|integrity|sha-?\d{1,3}(?:[-/]\d{3})?|keccak(?:256)?|blake[23][a-z]?"
    r"|tx|txn|tx ?id|transactions?|blocks?|root|topics?|nonce|salt|commit|pub(?:lic)?[ _-]?key)"
    r"(?: \([^()\n]{1,40}\))?[\"'`\\]{0,2}(?:\s{0,2}[:=/(\[]\s{0,2}|\s(?:is\s)?)[\"'`\\\[]{0,3}\Z|/[0-9a-f]{40}/\Z"
)
_DIGEST_BEHIND: Final = re.compile(r" [ *]\S")
"""As `sha256sum` prints it: the name of the file comes behind the digest, which begins the line."""
_NEXT_OF_LIST: Final = re.compile(r"[\"'`\\]{0,2},\s{0,4}[\"'`\\]{0,2}")
"""What stands between two digests of a list, of which the first was called one."""
_BEFORE_CHARS: Final = 64

_WORD: Final = re.compile(r"[a-z]+")
_SHORTEST_PHRASE: Final = bytes([True] * min(bip39.LENGTHS))
_PHRASES_TRIED: Final = 512
"""In one text: what has more listed words in a row is the list itself, and to try takes 20 us each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Key material at `text[start:end]`."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Finding]:
    """All of it, in order; none overlaps another."""
    found: list[Finding] = []
    for finding in sorted(_candidates(text), key=lambda finding: (finding.start, -finding.end)):
        if not found or finding.start >= found[-1].end:
            found.append(finding)
    return found


def contains(text: str) -> bool:
    """Whether there is any."""
    return next(_candidates(text), None) is not None


def redact(text: str) -> str:
    """The text with each finding replaced by its kind."""
    pieces, at = [], 0
    for finding in find(text):
        pieces += [text[at : finding.start], REDACTED.format(kind=finding.kind)]
        at = finding.end
    return "".join([*pieces, text[at:]])


def _candidates(text: str) -> Iterator[Finding]:
    lower = text.replace("\u0130", "I").lower()  # the one letter that becomes two, which would move what is behind it
    for kind, word, pattern in _PATTERNS:
        at = lower.find(word)
        while at >= 0:
            match = pattern.match(text, at)
            end = at + len(word)
            if match is not None:
                end = _pem_end(text, match.end()) if kind == "private_key" else match.end()
                yield Finding(kind, at, end)
            at = lower.find(word, end)
    yield from _hex_keys(text, lower)
    yield from _phrases(lower)


def _hex_keys(text: str, lower: str) -> Iterator[Finding]:
    digest_end = -1
    for match in _HEX.finditer(text):
        start, end = match.span()
        begins_line = start == 0 or text[start - 1] == "\n"
        if (
            _DIGEST_BEFORE.search(lower, max(0, start - _BEFORE_CHARS), start)
            or (begins_line and _DIGEST_BEHIND.match(text, end))
            or (digest_end >= 0 and _NEXT_OF_LIST.fullmatch(text, digest_end, start))
        ):
            digest_end = end
        else:
            yield Finding(HEX_KEY, start, end)


def _phrases(lower: str) -> Iterator[Finding]:
    """Listed words in a row with their checksum, the longest that begins at a word, whatever stands between them."""
    words = _WORD.findall(lower)
    listed = bytes(map(bip39.INDEX.__contains__, words))
    at = listed.find(_SHORTEST_PHRASE)
    if at < 0:
        return
    places = [match.span() for match in _WORD.finditer(lower)]
    for _ in range(_PHRASES_TRIED):
        if at < 0:
            break
        row = words[at : at + max(bip39.LENGTHS)]
        length = next((n for n in range(len(row), 0, -1) if bip39.is_phrase(row[:n])), 0)
        if length:
            yield Finding(SEED_PHRASE, places[at][0], places[at + length - 1][1])
        at = listed.find(_SHORTEST_PHRASE, at + (length or 1))


def _pem_end(text: str, start: int) -> int:
    """Where a PEM key ends; without an end, it is taken to go on."""
    stop = min(len(text), start + _BODY)
    match = _PEM_END.search(text, start, stop)
    return match.end() if match is not None else stop
