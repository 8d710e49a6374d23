"""What this host keeps: SQLite with one writer that commits in groups (design: storage)."""

from nexusd.store.store import Store as Store
