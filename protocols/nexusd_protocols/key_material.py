"""Keys and passwords in text, before it leaves this host or is kept.

    find(text) -> where they are        redact(text) -> the text without them

What the published network looks for, and a little more: private keys in PEM, `sk-` and other vendors' keys, 32 bytes of
hex, "…secret…" and password assignments, API keys, bearer tokens, JSON Web Tokens of somebody else, and phrases that
restore a wallet. A scan is a net with holes: it catches what is pasted by mistake, not what is hidden on purpose.

Linear in the text: no pattern can go back over what it has read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

REDACTED: Final = "[redacted {kind}]"

_VALUE: Final = r"""["'`]?[^\s"'`,;]{6,512}"""
_ASSIGN: Final = r"""["'`]?\s{0,4}(?:[:=]|=>)\s{0,4}"""

_KINDS: Final = {
    "private_key": r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]|-(?!----END))*+(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----)?+",
    "provider_key": r"(?<![A-Za-z0-9])(?:sk[-_][A-Za-z0-9_-]{16,200}|gh[pousr]_[A-Za-z0-9]{20,200}"
    r"|github_pat_[A-Za-z0-9_]{20,200}|xox[abprs]-[A-Za-z0-9-]{10,200}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}"
    r"|glpat-[A-Za-z0-9_-]{20,200}|hf_[A-Za-z0-9]{20,200})",
    "secret_key": r"(?i:(?<![a-z0-9])(?:private|secret|signing|wallet)[ _-]?key" + _ASSIGN + r")" + _VALUE,
    "hex_key": r"(?<![0-9A-Za-z])0x[0-9a-fA-F]{64}(?![0-9a-fA-F])",
    "password": r"(?i:(?<![a-z0-9])(?:pass(?:word|phrase|wd)|pwd)" + _ASSIGN + r")" + _VALUE,
    "api_key": r"(?i:(?<![a-z0-9])(?:[a-z0-9]{1,32}[_-])?"
    r"(?:api[ _-]?key|access[ _-]?token|auth[ _-]?token|client[ _-]?secret|secret)" + _ASSIGN + r")" + _VALUE,
    "bearer_token": r"(?i:\bbearer)\s{1,4}[A-Za-z0-9._~+/=-]{16,2048}",
    "seed_phrase": r"(?i:(?<![a-z])(?:seed|recovery|mnemonic|backup)(?: phrase| words)?(?:\s{1,2}is\s{1,2}|"
    + _ASSIGN
    + r"))"
    r"(?:[a-z]{3,8}\s{1,2}){11,23}+[a-z]{3,8}",
}
_PATTERN: Final = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))

_BEFORE: Final = 64
_TRIGGERS: Final = re.compile(
    r"(?i:-----begin|sk[-_]|gh[pousr]_|github_pat_|xox|akia|aiza|glpat-|hf_|0x|key|pass|pwd|secret|token|bearer|seed"
    r"|recovery|mnemonic|backup)"
)
"""One of these is in each finding: most texts are done with a look for them."""

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
    return list(_findings(text))


def contains(text: str) -> bool:
    """Whether there is any."""
    return next(_findings(text), None) is not None


def redact(text: str) -> str:
    """The text with each finding replaced by its kind."""
    if _TRIGGERS.search(text) is None:
        return text
    return _PATTERN.sub(lambda match: REDACTED.format(kind=match.lastgroup), text)


def _findings(text: str) -> Iterator[Finding]:
    trigger = _TRIGGERS.search(text)
    if trigger is None:
        return
    # a finding may begin a word before its trigger
    for match in _PATTERN.finditer(text, max(0, trigger.start() - _BEFORE)):
        yield Finding(match.lastgroup or "", match.start(), match.end())
