"""Content by its address: put, read, fetched, served, kept and given up.

put:   client -> Uploads -> Shelf -> store (commit) -> CID, pin -> DHT
get:   client -> Fetches: Walk -> Fetcher -> exchange (several peers) -> Shelf -> store -> client reads ranges
serve: exchange -> Shelf -> store (checked against the CID)
keep:  Keeping (pins, budgets), Autopin (what messages refer to); `Content.run` collects what nothing keeps
"""

from nexusd.services.content.keeping import Budgets
from nexusd.services.content.service import Content

__all__ = ["Budgets", "Content"]
