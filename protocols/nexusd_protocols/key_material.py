"""Keys and passwords in text, before it leaves this host or is kept.

    find(text) -> where they are        redact(text) -> the text without them

What the published network looks for, and a little more: private keys in PEM, `sk-` and other vendors' keys, 32 bytes
of hex behind 0x, assignments of secrets, passwords and API keys, bearer tokens, and the words that restore a wallet. A
scan is a net with holes: it catches what is pasted by mistake, not what is hidden on purpose. And it catches too much:
the hash of a transaction looks like a key.

Each pattern is tried only where its first word stands, and reads a bounded piece, but for the body of a PEM key, which
nothing else reads again. So the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

REDACTED: Final = "[redacted {kind}]"

_VALUE: Final = r"""["'`]?[^\s"'`,;]{6,512}"""
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
    "hex_key": (("0x",), r"(?<![0-9A-Za-z])0x[0-9a-fA-F]{64}(?![0-9a-fA-F])"),
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

KINDS: Final = tuple(_KINDS)
"""Of key material, by their names in findings."""


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


def _pem_end(text: str, start: int) -> int:
    """Where a PEM key ends; without an end, it is taken to go on."""
    stop = min(len(text), start + _BODY)
    match = _PEM_END.search(text, start, stop)
    return match.end() if match is not None else stop
