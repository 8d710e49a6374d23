"""What settings may be: readers of text and checks of typed values, each of which says what it expected instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, cast

from nexusd import paths
from nexusd.nodes import millionths, rpc_url, token
from nexusd_protocols.identity import parse_peer_id
from nexusd_protocols.payments.tokens import Tokens

_BYTES: Final = re.compile(r"([0-9]{1,15}) ?(?:([kmgt])(i?))?b?", re.ASCII | re.IGNORECASE)
_MOST_BYTES: Final = 10**15
_MOST_LISTED: Final = 10_000
"""Entries of a trust list: they are all in memory, and a longer one is a program's business."""
_MOST_DIRECT: Final = 64
"""Direct peers: each has a connection of its own for ever, and a copy of every message."""


_MOST_TOKENS: Final = 64
"""A node is asked about all of a chain in one batch."""


class WrongError(Exception):
    """What was expected instead."""


def one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise WrongError(f"one of {', '.join(words)}")
        return cast("str", value)

    return check


def whole(low: int, high: int, hint: str = "") -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise WrongError(f"a whole number from {low}{hint} to {high}")
        return value

    return check


def check_bytes(value: Any) -> int:
    """Bytes: a number, or a number and a unit."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_BYTES:
        return value
    found = _BYTES.fullmatch(value) if isinstance(value, str) else None
    power = "kmgt".index(found[2].lower()) + 1 if found is not None and found[2] else 0
    count = int(found[1] if found else _MOST_BYTES + 1)
    for _ in range(power):
        count *= 1024 if found is not None and found[3] else 1000
    if count > _MOST_BYTES:
        raise WrongError("a size such as 500MiB or 2GiB, at most 1000TB")
    return count


def digits(check: Callable[[Any], int]) -> Callable[[str], int]:
    return lambda text: check(int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None)


def check_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongError("true or false")
    return value


def read_bool(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return check_bool(words.get(text.lower()))


def check_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise WrongError("a path")
    return Path(value)


def check_name(value: Any) -> str:
    try:
        return paths.parse_name(value)
    except (ValueError, TypeError) as error:
        raise WrongError(f"another one: {error}") from None


def is_name(text: str) -> bool:
    try:
        paths.parse_name(text)
    except ValueError:
        return False
    return True


def check_listen(value: Any) -> tuple[str, ...]:
    return addresses(
        value, "a list of multiaddrs such as /ip4/0.0.0.0/tcp/4001", lambda address: "/p2p/" not in address
    )


def check_bootstrap(value: Any) -> tuple[str, ...]:
    return addresses(
        value, "a list of multiaddrs such as /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…, each with its peer id", has_peer
    )


def listed(parse: Callable[[str], object], expected: str, *, beginnings: bool = True) -> Callable[[Any], Any]:
    """A list of names that `parse` takes, or beginnings of such and a `*`."""

    def fits(entry: object) -> bool:
        if not isinstance(entry, str):
            return False
        try:
            # what a name may begin with is a name itself, and any name begins with nothing
            return (beginnings and entry == "*") or bool(parse(entry.removesuffix("*") if beginnings else entry))
        except ValueError:
            return False

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > _MOST_LISTED or not all(map(fits, value)):
            raise WrongError(f"a list of {expected}")
        return tuple(dict.fromkeys(value))

    return check


def check_relay(value: Any) -> tuple[str, ...]:
    return addresses(
        value,
        "a list of multiaddrs of relays such as /ip4/203.0.113.5/tcp/4001/p2p/12D3KooW…, each with its peer id",
        lambda address: has_peer(address) and "/p2p-circuit" not in address,
    )


def check_direct(value: Any) -> tuple[str, ...]:
    expected = (
        f"a list of multiaddrs of at most {_MOST_DIRECT} peers such as /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…, "
        "each with its peer id"
    )
    found = addresses(value, expected, has_peer)
    if len({address.rpartition("/p2p/")[2] for address in found}) > _MOST_DIRECT:
        raise WrongError(expected)
    return found


def has_peer(address: str) -> bool:
    _, mark, peer = address.rpartition("/p2p/")
    try:
        return bool(mark and parse_peer_id(peer))
    except ValueError:
        return False


def addresses(value: Any, expected: str, fits: Callable[[str], bool]) -> tuple[str, ...]:
    from multiaddr import Multiaddr  # slow to import, and most configurations name no address

    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise WrongError(expected)
    for address in value:
        try:
            Multiaddr(address)
        except ValueError:
            raise WrongError(expected) from None
        if not fits(address):
            raise WrongError(expected)
    return tuple(value)


def metrics_address(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Address and port of `127.0.0.1:9464` or `[::1]:9464`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("no port")
    if host.startswith("[") and host.endswith("]"):
        return IPv6Address(host[1:-1]), int(port)
    return IPv4Address(host), int(port)


def check_metrics(value: Any) -> str:
    try:
        metrics_address(value)
    except (ValueError, AttributeError):
        raise WrongError("an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464") from None
    return cast("str", value)


def check_rpc_urls(value: Any) -> tuple[str, ...]:
    wrong = WrongError("a list of networks and their nodes, one for each, such as base=https://mainnet.base.org")
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise wrong
    try:
        chains = [rpc_url(each)[0] for each in value]
    except ValueError:
        raise wrong from None
    if len(set(chains)) != len(chains):
        raise wrong
    return tuple(value)


def check_extra_tokens(value: Any) -> tuple[str, ...]:
    wrong = (
        "a list of EIP-3009 tokens that are not known yet, such as base/0x…/EURC/6/2/EURC: network, contract, symbol"
    )
    wrong += ", decimals, and version and name of its EIP-712 domain"
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise WrongError(wrong)
    if len(value) > _MOST_TOKENS:
        raise WrongError(f"at most {_MOST_TOKENS} tokens")
    try:
        tokens = list(Tokens(map(token, value)))
    except ValueError as error:
        raise WrongError(f"{wrong} ({error})") from None
    names = {(each.chain_id, each.symbol) for each in tokens}
    if len(names) != len(tokens):
        raise WrongError("another symbol: one of them has that of another token on its network")
    return tuple(value)


def check_tokens(value: Any) -> str:
    text = str(value) if type(value) in (int, float) else value
    try:
        millionths(text)
    except (ValueError, TypeError):
        raise WrongError("whole tokens, such as 0.5 or 20") from None
    return cast("str", text)


def lines(check: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Of entries that have blanks in them: `;` is between two."""
    return lambda text: check([each.strip() for each in text.split(";") if each.strip()])


def words(check: Callable[[Any], Any]) -> Callable[[str], Any]:
    return lambda text: check(text.replace(",", " ").split())


def plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """A refused value, as the user wrote it, cut to what a message can hold."""
    text = repr(value) if isinstance(value, str) else str(plain(value))
    return text if len(text) <= 80 else text[:79] + "…"
