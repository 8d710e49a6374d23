"""What is wrong with an object of a room's history."""

from __future__ import annotations


class HistoryError(ValueError):
    """An object that no honest member makes. Whoever named it as a room's history is to blame, not whoever handed its
    bytes on. `code` is one of: `bad_object` (not DAG-CBOR or JSON of this schema), `too_large`, `too_many` (messages,
    batches or days), `wrong_room`, `wrong_hour`, `unsorted`, `bad_signature`."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
