"""The words by which messages are found (`room_words`): what a person types into a search, and digests.

Nothing that is typed is an error of syntax.
"""

from __future__ import annotations

import re
from typing import Final

SEARCH_CHARS: Final = 1000
"""Of a query: a long sentence that somebody pasted."""
SEARCH_TERMS: Final = 32
"""Words or phrases: each reads a list of all messages that have it."""

_TERM: Final = re.compile(r'"([^"]*)"?|([^\s"]+)')


def search_terms(text: str) -> str:
    """The expression for messages that have all words and "phrases" of a text; `word*` stands for all that begin so.
    Letter case, accents and punctuation do not matter. Raises ValueError for a text that asks for nothing, or too much.
    """
    if len(text) > SEARCH_CHARS:
        raise ValueError(f"a search has at most {SEARCH_CHARS} characters")
    terms = []
    for phrase, word in _TERM.findall(text.replace("\0", " ")):
        term = (phrase or word).strip()
        if any(character.isalnum() for character in term):
            terms.append(f'"{term}"' + ("*" if word.endswith("*") else ""))
    if not terms:
        raise ValueError("a search needs a word")
    if len(terms) > SEARCH_TERMS:
        raise ValueError(f"a search has at most {SEARCH_TERMS} words")
    return " AND ".join(terms)


def log_word(log: int) -> str:
    """The word that all messages of a log have."""
    return f"log{log}"


def digest_word(digest: bytes) -> str:
    """The word that a message has, and hardly any other."""
    return digest[:8].hex()


def match_in(log: int, terms: str) -> str:
    """What to look for, in one log only."""
    return f"log : {log_word(log)} AND content : ({terms})"


def match_digest(digest: bytes) -> str:
    """What to look for, in all logs."""
    return f"digest : {digest_word(digest)}"
