"""Golden vectors, as other implementations read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[2] / "protocols" / "vectors"


def vectors(name: str) -> dict[str, Any]:
    """The contents of `protocols/vectors/<name>.json`."""
    return json.loads((_FOLDER / f"{name}.json").read_text())


def named(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Arguments of `pytest.mark.parametrize` for rows that have a name."""
    return {"argvalues": rows, "ids": [row["name"] for row in rows]}


def cuts(data: bytes) -> range:
    """Where to split a stream: everywhere, or at 100 places of what is long."""
    return range(0, len(data) + 1, 1 + len(data) // 100)
