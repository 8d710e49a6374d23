"""Which version a database has, and how it is brought to the one this program knows.

Migrations are the files `migrations/NNNN_name.sql`, numbered from 1 without a gap, forward only. `user_version` holds
the number of the last one applied, `application_id` says that the file is a nexusd store at all. Each migration is one
transaction together with its number, so that a crash leaves either version, whole; in a new file all of them are one,
for a disk takes its time over each. What SQL cannot say is a step of `steps.py`, run after the file of its number.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from nexusd.store.errors import NewerStoreError, StorageCorruptError
from nexusd.store.steps import MAIN_STEPS

APPLICATION_ID: Final = int.from_bytes(b"nxus", "big")

CHECKED_BYTES: Final = 64 * 1024 * 1024
"""More would delay a start noticeably. `Database.integrity` checks any."""

_FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

Step = Callable[[apsw.Connection], None]


@dataclass(frozen=True, slots=True)
class Migration:
    """Brings a database from version `number - 1` to `number`: the SQL, then the step if there is one."""

    number: int
    sql: str
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a kind of database file is made of. `page_size` and `shrinks` (freed pages can be given back to the disk)
    are for new files: they stay as they were made. `log_pages`: in the write-ahead log, before they are copied into the
    database (None: as many as the writer thinks). `checked_bytes`: up to this size the whole file is checked at each
    start, and refused if it is damaged."""

    migrations: Sequence[Migration]
    application_id: int = APPLICATION_ID
    page_size: int = 4096
    shrinks: bool = False
    log_pages: int | None = None
    checked_bytes: int = CHECKED_BYTES


def shipped_migrations(package: str = "nexusd.store", steps: Mapping[int, Step] = MAIN_STEPS) -> tuple[Migration, ...]:
    """The migrations of this program that are in the folder `migrations` of a package, in order."""
    files = importlib.resources.files(package).joinpath("migrations").iterdir()
    numbers = [(int(match[1]), file) for file in files if (match := _FILE.fullmatch(file.name))]
    found = sorted(
        (Migration(number, file.read_text("utf-8"), steps.get(number)) for number, file in numbers),
        key=lambda migration: migration.number,
    )
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise AssertionError("migrations are not numbered from 1 without a gap")
    return tuple(found)


def version_of(connection: apsw.Connection, application_id: int = APPLICATION_ID) -> int:
    """The version of a nexusd store, 0 for an empty database. Raises StorageCorruptError if it is something else."""
    version = int(connection.pragma("user_version"))
    if connection.pragma("application_id") == application_id:
        return version
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if version or tables or connection.pragma("application_id"):
        raise StorageCorruptError("The file is a database of another program")
    return 0


def check_version(version: int, migrations: Sequence[Migration]) -> None:
    """Raises NewerStoreError if the database is newer than the migrations."""
    if version > len(migrations):
        raise NewerStoreError(
            f"The store has version {version}, and this nexusd knows versions up to {len(migrations)}: "
            "install the newer nexusd again, or choose another data directory"
        )


def migrate(connection: apsw.Connection, version: int, layout: Layout) -> None:
    """Apply what is missing. A failing migration is rolled back, and its error raised."""
    missing = layout.migrations[version:]
    for together in [[migration] for migration in missing] if version else [missing]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for migration in together:
                _apply(connection, migration, layout.application_id)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _apply(connection: apsw.Connection, migration: Migration, application_id: int) -> None:
    connection.execute(migration.sql)
    if migration.step is not None:
        migration.step(connection)
    connection.pragma("application_id", application_id)
    connection.pragma("user_version", migration.number)
