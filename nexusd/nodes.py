"""What settings say of chains: whom to ask of each, and amounts of money."""

from __future__ import annotations

from urllib.parse import urlsplit

from nexusd_protocols.payments import money
from nexusd_protocols.payments.address import parse_address
from nexusd_protocols.payments.tokens import Token, parse_network


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


def token(text: str) -> Token:
    """Of `base/0x…/EURC/6/2/Euro Coin`: network, contract, symbol, decimals, version and name, the last two those of
    the contract's EIP-712 domain. Raises ValueError."""
    parts = text.split("/", 5)
    if len(parts) != 6:
        raise ValueError("six parts are a token")
    network, address, symbol, decimals, version, name = parts
    if not (decimals.isascii() and decimals.isdigit() and len(decimals) <= 2):
        raise ValueError("decimals are a small number")
    if symbol != symbol.upper():
        raise ValueError("a symbol is in capitals, as policies name it")
    return Token(
        chain_id=parse_network(network),
        address=parse_address(address),
        symbol=symbol,
        name=name,
        version=version,
        decimals=int(decimals),
    )


def millionths(text: str) -> int:
    """Whole tokens, in millionths. Raises ValueError."""
    return money.parse_decimal(text, money.LIMIT_DECIMALS)
