"""What settings say of chains: whom to ask of each, and amounts of money."""

from __future__ import annotations

from urllib.parse import urlsplit

from nexusd_protocols.payments.money import parse_decimal
from nexusd_protocols.payments.tokens import parse_network


def rpc_url(text: str) -> tuple[int, str]:
    """Chain id and URL of `base=https://…`. Raises ValueError."""
    network, mark, url = text.partition("=")
    if not mark or not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        raise ValueError("not a network and a URL")
    return parse_network(network), url


def without_key(url: str) -> str:
    """`base=https://host/…`: providers put keys behind the host, and in front of it."""
    network, _, rest = url.partition("=")
    parts = urlsplit(rest)
    hidden = "/…" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{network}={parts.scheme}://{parts.netloc.rpartition('@')[2]}{hidden}"


def millionths(text: str) -> int:
    """Whole tokens, in millionths. Raises ValueError."""
    return parse_decimal(text, 6)
