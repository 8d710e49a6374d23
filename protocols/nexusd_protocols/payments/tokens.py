"""The tokens that this node pays and is paid in, and the names of their networks.

A payer signs under the name and version of the token's contract (its EIP-712 domain). They come from here, never from
the peer: on Base the contract calls itself "USD Coin", on its test network "USDC", and a signature under another name
is worth nothing. (specs/payments.md §3)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.payments import eip712, money
from nexusd_protocols.payments.address import Address, checksummed, read_address

V1_NETWORKS: Final = {"base": 8453, "base-sepolia": 84532, "ethereum": 1, "polygon": 137}
"""What x402 1 and the published network call a chain, and people too. Version 2 has `eip155:<chain id>` (CAIP-2)."""

_V1_NAMES: Final = {chain_id: name for name, chain_id in V1_NETWORKS.items()}
_CAIP2: Final = re.compile(r"eip155:([1-9][0-9]{0,15})")
_SYMBOL: Final = re.compile(r"[A-Za-z0-9._-]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token on one chain. `name` and `version` are those of its EIP-712 domain. Raises ValueError."""

    chain_id: int
    address: Address
    symbol: str
    name: str
    version: str
    decimals: int
    domain_separator: bytes = field(init=False, repr=False, compare=False)
    network: str = field(init=False, repr=False, compare=False)
    """CAIP-2, such as `eip155:8453`."""

    def __post_init__(self) -> None:
        if not _CAIP2.fullmatch(f"eip155:{self.chain_id}"):
            raise ValueError("a chain id is a whole number of at most 16 digits")
        if len(self.address) != 20:
            raise ValueError("a token's address has 20 bytes")
        if not _SYMBOL.fullmatch(self.symbol):
            raise ValueError("a token's symbol is 1 to 16 of A-Z a-z 0-9 . _ -")
        if not 0 < len(self.name) <= limits.TOKEN_NAME_CHARS or len(self.version) > limits.TOKEN_NAME_CHARS:
            raise ValueError(f"a token's name and version have at most {limits.TOKEN_NAME_CHARS} characters")
        if not 0 <= self.decimals <= limits.TOKEN_DECIMALS:
            raise ValueError(f"a token has at most {limits.TOKEN_DECIMALS} decimals")
        separator = eip712.domain_separator(self.name, self.version, self.chain_id, self.address)
        object.__setattr__(self, "domain_separator", separator)
        object.__setattr__(self, "network", f"eip155:{self.chain_id}")

    @property
    def asset(self) -> str:
        """The address as text."""
        return checksummed(self.address)

    @property
    def asset_id(self) -> str:
        """What ledgers call it: `eip155:<chain>/<contract, lower hex>`."""
        return f"{self.network}/{self.address.hex()}"

    @property
    def v1_network(self) -> str | None:
        """What x402 1 calls the chain, if it has a name for it."""
        return _V1_NAMES.get(self.chain_id)

    def parse(self, text: str) -> int:
        """Smallest units of an amount that a person wrote. Raises ValueError."""
        return money.parse_decimal(text, self.decimals)

    def show(self, amount: int) -> str:
        """An amount for people, with the symbol."""
        return f"{money.show(amount, self.decimals)} {self.symbol}"


def _usdc(network: str, address: str, name: str = "USD Coin") -> Token:
    return Token(
        chain_id=V1_NETWORKS[network],
        address=read_address(address),
        symbol="USDC",
        name=name,
        version="2",
        decimals=6,
    )


USDC_BASE: Final = _usdc("base", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")
USDC_BASE_SEPOLIA: Final = _usdc("base-sepolia", "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC")
USDC_ETHEREUM: Final = _usdc("ethereum", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")
USDC_POLYGON: Final = _usdc("polygon", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")

KNOWN: Final = (USDC_BASE, USDC_BASE_SEPOLIA, USDC_ETHEREUM, USDC_POLYGON)


def parse_network(text: str) -> int:
    """The chain id of a network as people write it: a name of V1_NETWORKS, or CAIP-2. Raises ValueError."""
    if text in V1_NETWORKS:
        return V1_NETWORKS[text]
    match = _CAIP2.fullmatch(text)
    if match is None:
        raise ValueError(f"a network is one of {', '.join(V1_NETWORKS)}, or like eip155:8453")
    return int(match[1])


def network_name(chain_id: int) -> str:
    """The shortest text that `parse_network` takes."""
    return _V1_NAMES.get(chain_id, f"eip155:{chain_id}")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What an account has on a network: `gas` of its own coin, and `amounts` of tokens, but for those whose contract
    does not say; in smallest units."""

    gas: int
    amounts: Mapping[Token, int]


class Tokens:
    """What is known, with what the configuration adds. One that is there already is not replaced: ValueError."""

    def __init__(self, extra: Iterable[Token] = ()) -> None:
        self._tokens: dict[tuple[int, bytes], Token] = {}
        for token in (*KNOWN, *extra):
            if self._tokens.setdefault((token.chain_id, token.address), token) != token:
                raise ValueError(f"{token.asset} on {token.network} is known with other properties")

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens.values())

    def get(self, chain_id: int, address: bytes) -> Token | None:
        """The token at an address."""
        return self._tokens.get((chain_id, address))

    def find(self, network: object, asset: object) -> Token | None:
        """The token of a requirement of version 2. None for what is unknown or malformed."""
        match = _CAIP2.fullmatch(network) if isinstance(network, str) else None
        if match is None:
            return None
        try:
            return self.get(int(match[1]), read_address(asset))
        except ValueError:
            return None

    def named(self, chain_id: int, symbol: str = "USDC") -> Token | None:
        """The token that people call `symbol` on a chain; the first, if the configuration knows several."""
        return next((token for token in self if token.chain_id == chain_id and token.symbol == symbol), None)
