"""What is remembered of the newest, and of no more."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

ENTRIES: Final = 4096
"""Charges or transactions: far more than are on their way."""

ValueT = TypeVar("ValueT")


class Memory(OrderedDict[str, ValueT]):
    """The newest ENTRIES."""

    def __setitem__(self, key: str, value: ValueT) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > ENTRIES:
            self.popitem(last=False)
