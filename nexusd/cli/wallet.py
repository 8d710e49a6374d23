"""wallet: the key that pays for calls, and the gas that settles what others owe.

The password is asked for on the terminal, or comes from --password-file or NEXUS_WALLET_PASSWORD; nobody is asked for
one that is of no use. It goes to the daemon over its socket, which only this user can open, and nowhere else.
"""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from nexusd.cli import stdin, summaries
from nexusd.cli.options import STDIN, FilePath
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call, current
from nexusd.cli.terminal import clean, pairs, table
from nexusd.cli.usage import UsageError
from nexusd.client.errors import NexusError
from nexusd_protocols.rpc.schema import WalletBackup, WalletBalances, WalletShow

app = App(name="wallet", help="The wallet: make, import, show, open, back up.", help_format="plaintext")

VARIABLE: Final = "NEXUS_WALLET_PASSWORD"
_KEY: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1: a key is below it, and above 0."""
_COINS: Final = {"base": "ETH", "base-sepolia": "ETH", "ethereum": "ETH", "polygon": "POL"}
"""What gas is paid in."""
RESTART: Final = "put it back, or start the daemon again (`nexus stop`, `nexusd run --detach`)"
_PASSWORD_BYTES: Final = 1024
_KEYSTORE_BYTES: Final = 16 * 1024

PasswordFile = Annotated[Path | None, Parameter(show_default=False)]


@app.command(help=summaries.of("wallet.new", "nexus wallet new"))
def new(*, password_file: PasswordFile = None) -> Answer[WalletShow]:
    """Make a wallet.

    Parameters
    ----------
    password_file
        File whose first line is the password. Without it that is NEXUS_WALLET_PASSWORD, or asked for, twice.
    """
    _is_free()
    password = _password(password_file, new=True)
    made = _slowly("wallet.new", password=password)
    return Answer(
        made, _show, "keep a copy of it elsewhere (`nexus wallet backup FILE`); without its password it is lost"
    )


@app.command(name="import", help=summaries.of("wallet.import", "nexus wallet import keystore.json"))
def import_(file: FilePath | None = None, /, *, password_file: PasswordFile = None) -> Answer[WalletShow]:
    """Import.

    Parameters
    ----------
    file
        A keystore, such as `nexus wallet backup` writes, whose password it keeps, or 32 bytes of hexadecimal; - (or
        nothing, with a pipe) standard input.
    password_file
        File whose first line is the password. Without it that is NEXUS_WALLET_PASSWORD, or asked for.
    """
    _is_free()
    text = _key_text(file).strip()
    keystore = text.startswith("{")
    if not keystore and not _KEY.fullmatch(text):
        raise UsageError(
            "that is neither a keystore nor 32 bytes of hexadecimal", "name what `nexus wallet backup` wrote, or a key"
        )
    if not keystore and not 0 < int(text, 16) < _ORDER:
        raise UsageError("that is no key: as a number it is 0, or not below the order of secp256k1", "make another")
    if keystore and not _is_keystore(text):
        raise UsageError("that is no keystore of version 3", "name what `nexus wallet backup` wrote, or a key")
    password = _password(password_file, new=not keystore)
    made = _slowly(
        "wallet.import", password=password, keystore=text if keystore else None, key=None if keystore else text
    )
    return Answer(made, _show)


@app.command(help=summaries.of("wallet.unlock", "nexus wallet unlock"))
def unlock(*, password_file: PasswordFile = None) -> Answer[WalletShow]:
    """Unlock.

    Parameters
    ----------
    password_file
        File whose first line is the password. Without it that is NEXUS_WALLET_PASSWORD, or asked for.
    """
    shown: WalletShow = call("wallet.show")
    if shown.unlocked and password_file is None and VARIABLE not in os.environ:
        return Answer(shown, _show, "it is open already")
    return Answer(_slowly("wallet.unlock", password=_password(password_file, new=False)), _show)


@app.command(help=summaries.of("wallet.show", "nexus wallet show"))
def show() -> Answer[WalletShow]:
    """Show."""
    return Answer(call("wallet.show"), _show)


@app.command(help=summaries.of("wallet.balance", "nexus wallet balance"))
def balance() -> Answer[WalletBalances]:
    """Balance."""
    return Answer(call("wallet.balance"), _balance)


@app.command(help=summaries.of("wallet.backup", "nexus wallet backup wallet-backup.json"))
def backup(file: Path | None = None, /) -> Answer[WalletBackup]:
    """Back up.

    Parameters
    ----------
    file
        Where to write it; it must not exist. Without it, the keystore is printed.
    """
    kept: WalletBackup = call("wallet.backup")
    if file is None:
        return Answer(kept, lambda kept: clean(kept.keystore))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(kept.keystore)
            out.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", "name a file that is not there yet") from None
    return Answer(
        kept,
        lambda kept: (
            f"the keystore of {clean(kept.address)} is in {file}; `nexus wallet import {file}` restores it, "
            "with the wallet's password"
        ),
    )


def _key_text(file: str | None) -> str:
    if file is None and not stdin.piped():
        raise UsageError(
            "there is no key", "name a file, or pipe it in; a key in the command would stay in its history"
        )
    return stdin.read_file(STDIN if file is None else file, _KEYSTORE_BYTES, wanted="a keystore, or a file with a key")


def _is_keystore(text: str) -> bool:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    fields = {str(name).lower(): value for name, value in found.items()}  # some write `Crypto`
    return fields.get("version") == 3 and isinstance(fields.get("crypto"), dict)


def _is_free() -> None:
    """Raises NexusError where there is a wallet: before a password is asked for that nobody needs."""
    try:
        shown: WalletShow = call("wallet.show")
    except NexusError as error:
        if error.code == "no_wallet":
            return
        raise
    if shown.gone:
        raise NexusError.of(
            "wallet_exists", f"The wallet was moved away from {shown.path}, and is used still: {RESTART}"
        )
    raise NexusError.of(
        "wallet_exists", f"There is a wallet in {shown.path}: move it away first, keep it, and start the daemon again"
    )


def _slowly(method: str, **fields: str | None) -> WalletShow:
    """Call what makes a key of the password, and tell a person who waits for it why; and who waits no longer, that the
    daemon does not stop in the middle of it."""
    if current().out.isatty():
        current().say("making a key of the password: some seconds, so that guessing takes years")
    try:
        shown: WalletShow = call(method, **fields)
    except KeyboardInterrupt:
        current().say("the daemon goes on with it all the same: `nexus wallet show` tells what came of it")
        raise
    return shown


def _password(file: Path | None, *, new: bool) -> str:
    """The password: from the file, the environment, or the person at the terminal."""
    if file is not None:
        text = stdin.read_file(file, _PASSWORD_BYTES, wanted="a file with the password")
        password = (text.splitlines() or [""])[0]
    elif VARIABLE in os.environ:
        password = os.environ[VARIABLE]
    elif current().stdin.isatty():
        ask = "Choose a password for the wallet: " if new else "Password of the wallet: "
        password = _typed(ask)
        if new and password and _typed("Once more: ") != password:
            raise UsageError("the two are not the same", "try again: nothing was made")
    else:
        raise UsageError("there is no password", f"type it on a terminal, or use --password-file or {VARIABLE}")
    if not password:
        raise UsageError("the password is empty", "choose one")
    return password


def _typed(ask: str) -> str:
    try:
        return getpass.getpass(ask, stream=current().err)
    except EOFError:
        print(file=current().err)  # the question left its line open
        raise UsageError("no password was typed", "try again: nothing was done") from None


def _show(shown: WalletShow) -> str:
    return pairs(
        [
            ("address", shown.address),
            ("state", "open" if shown.unlocked else "locked: it pays nothing and settles nothing"),
            ("file", f"{shown.path} is gone, and the wallet used still: {RESTART}" if shown.gone else shown.path),
        ]
    )


def _balance(found: WalletBalances) -> str:
    rows = [
        [
            each.network,
            f"{each.amount} {each.asset}" if each.amount is not None else f"unknown {each.asset}",
            f"{_rounded(each.gas)} {_COINS.get(each.network, '')}".rstrip() if each.gas is not None else "unknown",
            each.problem,
        ]
        for each in found.balances
        if each.online
    ]
    nobody = (
        "no node of a chain is configured, so that nobody can be asked what the wallet holds: put one into "
        'config.toml, such as rpc_urls = ["base=https://mainnet.base.org"], and start the daemon again'
    )
    lines = [clean(found.address), table(["NETWORK", "BALANCE", "GAS", ""], rows, empty=nobody)]
    others = dict.fromkeys(each.network for each in found.balances if not each.online)
    if rows and others:
        lines.append(clean(f"not known on {', '.join(others)}: no node of theirs is in rpc_urls"))
    return "\n".join(lines)


def _rounded(gas: str) -> str:
    """To a millionth: what is left of it pays for no transaction."""
    whole, _, fraction = gas.partition(".")
    return f"{whole}.{fraction[:6]}".rstrip("0").rstrip(".")
