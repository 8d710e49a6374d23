"""The wallet: one key on disk, encrypted (keystore V3), and in memory once its password was given.

It pays for calls, and pays the gas that settles what others owe. The file is readable by its owner only. The password
comes from the owner at this host, or from a file or the environment at the start; it is not kept, not logged, and
nothing that the daemon answers holds it or the key.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import structlog
import trio
from msgspec.structs import replace

from nexusd import durable
from nexusd.recursion import limit_kept
from nexusd_protocols import ndjson
from nexusd_protocols.payments.address import Address, checksummed, read_address
from nexusd_protocols.payments.authorization import Account
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal

log = structlog.get_logger(__name__)

Kdf = Literal["scrypt", "pbkdf2"]

FILE: Final = "wallet.json"
_MAX_BYTES: Final = 16 * 1024


class Wallet:
    """The wallet of a node; there may be none."""

    def __init__(self, directory: Path, opened: Callable[[Account], None], *, kdf: Kdf = "scrypt") -> None:
        """`opened` is told of the key when it becomes known. `kdf`: as eth-account names it."""
        self._path = directory / FILE
        self._opened = opened
        self._kdf = kdf
        self._address: Address | None = None
        self._account: Account | None = None
        self._changing = trio.Lock()
        self.locked: str = ""
        """Why it is, in words; empty where it is open, or there is none."""

    @property
    def address(self) -> Address | None:
        """Who is paid, and pays; None without a wallet."""
        return self._address

    @property
    def account(self) -> Account | None:
        """The key, once it was unlocked."""
        return self._account

    async def load(self, password: str | None) -> None:
        """At the start: find the keystore, and open it if the password is known already."""
        try:
            text = await trio.to_thread.run_sync(self._read)
            self._address = _address_of(text)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.error("wallet_not_read", path=str(self._path), error=str(error))
            self.locked = f"since {self._path} cannot be read"
            return
        if password is None:
            self.locked = "for want of a password"
            return
        opened = await self._unlock(text, password)
        if isinstance(opened, Refusal):
            log.error("wallet_locked", reason=opened.message)
            self.locked = f"since it could not be opened ({opened.message})"

    async def new(self, params: schema.WalletNewParams) -> schema.WalletShow | Refusal:
        """Make a key."""
        return await self._keep(secrets.token_bytes(32), params.password)

    async def import_(self, params: schema.WalletImportParams) -> schema.WalletShow | Refusal:
        """Keep a key that exists."""
        if (params.keystore is None) == (params.key is None):
            return Refusal("invalid_params", "Give exactly one of a keystore and a key")
        if params.keystore is not None:
            secret = await trio.to_thread.run_sync(_decrypt, params.keystore, params.password)
            if isinstance(secret, Refusal):
                return secret
        else:
            try:
                secret = bytes.fromhex((params.key or "").removeprefix("0x"))
            except ValueError:
                return Refusal("invalid_params", "A key is 32 bytes of hexadecimal")
            try:
                Account(secret)
            except ValueError:
                return Refusal(
                    "invalid_params", "That is no key: as a number it is 0, or not below the order of secp256k1"
                )
        return await self._keep(secret, params.password)

    async def unlock(self, params: schema.WalletUnlockParams) -> schema.WalletShow | Refusal:
        """Open it until the daemon stops."""
        text = await self._kept()
        if isinstance(text, Refusal):
            return text
        opened = await self._unlock(text, params.password)
        return opened if isinstance(opened, Refusal) else self._show()

    async def show(self) -> schema.WalletShow | Refusal:
        """Its address."""
        if self._address is None:
            return Refusal("no_wallet")
        there = await trio.to_thread.run_sync(os.path.lexists, self._path)
        return replace(self._show(), gone=not there)

    async def backup(self) -> schema.WalletBackup | Refusal:
        """The keystore as it is on the disk."""
        text = await self._kept()
        if isinstance(text, Refusal):
            return text
        try:
            return schema.WalletBackup(address=checksummed(_address_of(text)), keystore=text)
        except ValueError as error:
            return Refusal("refused", str(error))

    def _show(self) -> schema.WalletShow:
        assert self._address is not None
        return schema.WalletShow(
            address=checksummed(self._address), path=str(self._path), unlocked=self._account is not None
        )

    async def _keep(self, secret: bytes, password: str) -> schema.WalletShow | Refusal:
        async with self._changing:
            if self._address is not None and not await trio.to_thread.run_sync(os.path.lexists, self._path):
                return Refusal("wallet_exists", self._gone())
            account = Account(secret)

            def write() -> Refusal | None:
                text = json.dumps(_keystores().encrypt(secret, password, kdf=self._kdf))
                return _write_new(self._path, text)

            refusal = await trio.to_thread.run_sync(write)
            if refusal is not None:
                return refusal
            self._open(account)
            return self._show()

    async def _unlock(self, text: str, password: str) -> Refusal | None:
        secret = await trio.to_thread.run_sync(_decrypt, text, password)
        if isinstance(secret, Refusal):
            return secret
        account = Account(secret)
        if self._address is not None and account.address != self._address:
            return Refusal("refused", f"The keystore {self._path} holds another key than it says")
        self._open(account)
        return None

    def _open(self, account: Account) -> None:
        self._account, self._address, self.locked = account, account.address, ""
        self._opened(account)

    async def _kept(self) -> str | Refusal:
        """The keystore as it is on the disk."""
        try:
            return await trio.to_thread.run_sync(self._read)
        except FileNotFoundError:
            return Refusal("no_wallet") if self._address is None else Refusal("refused", self._gone())
        except (OSError, ValueError) as error:
            return Refusal("refused", f"The keystore {self._path} cannot be read: {error}")

    def _gone(self) -> str:
        return (
            f"The wallet was moved away from {self._path}, and this daemon uses it until it stops: put it back, or "
            "start the daemon again (`nexus stop`, `nexusd run --detach`)"
        )

    def _read(self) -> str:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, _MAX_BYTES).decode()
        finally:
            os.close(descriptor)


def _keystores() -> Any:
    """What reads and writes keystores: half a second of imports, for what is done once."""
    with limit_kept():
        from eth_account import Account as Keystores

    return Keystores


def _address_of(text: str) -> Address:
    """The address that a keystore names. Raises ValueError."""
    found = ndjson.value(text.encode())
    address = found.get("address") if isinstance(found, dict) else None
    if not isinstance(address, str):
        raise ValueError("not a keystore with an address")
    return read_address(address if address.startswith("0x") else f"0x{address}")


def _decrypt(text: str, password: str) -> bytes | Refusal:
    """The key of a keystore. Slow on purpose: call it in a thread."""
    try:
        secret = bytes(_keystores().decrypt(text, password))
        Account(secret)  # raises ValueError for what is no key
        return secret
    except Exception as error:  # whatever a file that is no keystore makes of the library
        if isinstance(error, ValueError) and "MAC" in str(error):
            return Refusal("wrong_password")
        return Refusal("refused", "That is not a keystore of version 3")


def _write_new(path: Path, text: str) -> Refusal | None:
    """Never over another: a key that is lost is lost with its money."""
    try:
        durable.write_secret(path, text, replace=False)
    except FileExistsError:
        return Refusal(
            "wallet_exists", f"There is a wallet in {path}: move it away first, keep it, and start the daemon again"
        )
    return None
