"""Trust lists as the published network has them: what is denied is refused; then, where an allow list has entries, so
is all that is not on it. An entry that ends in `*` stands for all names that begin so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["deny", "allow"]


class TrustList:
    """Which names of one kind are refused."""

    def __init__(self, deny: Iterable[str] = (), allow: Iterable[str] = ()) -> None:
        self._deny = _Names(deny)
        self._allow = _Names(allow)

    def refuses(self, name: str) -> Rule | None:
        """The list that refuses a name: it is on the one, or not on the other."""
        if name in self._deny:
            return "deny"
        return "allow" if self._allow and name not in self._allow else None


@dataclass(frozen=True, slots=True)
class TrustLists:
    """The lists of a node. Those for capabilities say what others may call here."""

    peers: TrustList = field(default_factory=TrustList)
    rooms: TrustList = field(default_factory=TrustList)
    capabilities: TrustList = field(default_factory=TrustList)


class _Names:
    """Names, and beginnings of names."""

    def __init__(self, entries: Iterable[str]) -> None:
        listed = list(entries)
        self._whole = frozenset(entry for entry in listed if not entry.endswith("*"))
        self._beginnings = tuple(entry[:-1] for entry in listed if entry.endswith("*"))

    def __bool__(self) -> bool:
        return bool(self._whole or self._beginnings)

    def __contains__(self, name: str) -> bool:
        return name in self._whole or name.startswith(self._beginnings)
