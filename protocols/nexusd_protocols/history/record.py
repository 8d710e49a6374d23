"""What batch, day and checkpoint share: a DAG-CBOR map of fields that are all there, and no others."""

from __future__ import annotations

from typing import Final

from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.ids import RoomId

Record = dict[str, dag_cbor.Value]

_MAX_NUMBER: Final = (1 << 31) - 1
"""Of hours and days since 1970, parts and counts: beyond all of them."""


def read_record(
    block: Block, schema: str, fields: frozenset[str], room: RoomId, *, max_bytes: int, items: int
) -> Record:
    """The fields of an object of this schema and room, `schema` and `room` besides `fields`.

    Raises HistoryError `too_large`, `bad_object`, `wrong_room`."""
    if block.cid.codec != DAG_CBOR or block.cid.version != 1:
        raise HistoryError("bad_object", f"{block.cid.codec_name} is not DAG-CBOR")
    if len(block.data) > max_bytes:
        raise HistoryError("too_large", f"over {max_bytes} bytes")
    try:
        value = dag_cbor.decode(block.data, max_bytes=max_bytes, items=items)
    except dag_cbor.DagCborError as error:
        raise HistoryError("too_many" if error.code == "too_many_items" else "bad_object", str(error)) from error
    record = fields_of(value, fields | {"schema", "room"})
    if record["schema"] != schema:
        raise HistoryError("bad_object", f"not a {schema}")
    if record["room"] != room:
        raise HistoryError("wrong_room", "it is of another room")
    return record


def fields_of(value: dag_cbor.Value, fields: frozenset[str]) -> Record:
    """A map of exactly these fields. Raises HistoryError `bad_object`."""
    if not isinstance(value, dict) or value.keys() != fields:
        raise HistoryError("bad_object", f"a map of {', '.join(sorted(fields))} expected")
    return value


def number(record: Record, field: str, *, least: int = 0, most: int = _MAX_NUMBER) -> int:
    """A field that is an integer within bounds. Raises HistoryError `bad_object`."""
    value = record[field]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise HistoryError("bad_object", f"{field} is an integer from {least} to {most}")
    return value


def rows(record: Record, field: str, most: int) -> list[dag_cbor.Value]:
    """A field that is a list of 1 to `most`. Raises HistoryError `bad_object`, `too_many`."""
    value = record[field]
    if not isinstance(value, list) or not value:
        raise HistoryError("bad_object", f"{field} is a list that is not empty")
    if len(value) > most:
        raise HistoryError("too_many", f"{field} has over {most}")
    return value


def link(value: dag_cbor.Value) -> Cid:
    """The name of a DAG-CBOR object. Raises HistoryError `bad_object`."""
    if not isinstance(value, Cid) or value.codec != DAG_CBOR:
        raise HistoryError("bad_object", "a link to DAG-CBOR expected")
    return value
