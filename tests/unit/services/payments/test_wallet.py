"""The key on disk: encrypted, its owner's alone, and never written over."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account as Keystores
from msgspec.structs import replace

from nexusd.services.payments.wallet import Wallet
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.authorization import Account
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.paying import PAYER

PASSWORD = "open sesame"
KEY = f"0x{PAYER.secret().hex()}"


@pytest.fixture(autouse=True)
def derived_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who guesses passwords has to wait for each; tests need not."""
    monkeypatch.setattr("eth_keyfile.keyfile.get_default_work_factor_for_kdf", lambda _kdf: 1000)


def wallet(directory: Path, told: list[Account] | None = None) -> Wallet:
    return Wallet(directory, (told if told is not None else []).append, kdf="pbkdf2")


def names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


def shown(answer: Any) -> schema.WalletShow:
    assert isinstance(answer, schema.WalletShow), answer
    return answer


async def test_a_wallet_is_made_once_and_opened_after_a_restart(tmp_path: Path) -> None:
    told: list[Account] = []
    first = wallet(tmp_path, told)
    await first.load(None)
    assert await first.show() == Refusal("no_wallet")
    made = shown(await first.new(schema.WalletNewParams(password=PASSWORD)))
    assert made.unlocked
    assert checksummed(told[0].address) == made.address
    file = tmp_path / "wallet.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(tmp_path) == [file.name]
    assert bytes(Keystores.decrypt(file.read_text(), PASSWORD)) == told[0].secret()
    before = file.read_bytes()
    again = await first.new(schema.WalletNewParams(password="other"))
    assert isinstance(again, Refusal)
    assert (again.code, file.read_bytes()) == ("wallet_exists", before)

    second = wallet(tmp_path)
    await second.load("wrong")
    assert shown(await second.show()) == schema.WalletShow(address=made.address, path=str(file), unlocked=False)
    wrong = await second.unlock(schema.WalletUnlockParams(password="wrong"))
    assert wrong == Refusal("wrong_password")
    assert second.account is None
    assert shown(await second.unlock(schema.WalletUnlockParams(password=PASSWORD))).unlocked
    third = wallet(tmp_path)
    await third.load(PASSWORD)
    assert third.account is not None
    kept = await third.backup()
    assert isinstance(kept, schema.WalletBackup)
    assert kept.keystore.encode() == before
    assert third.account.secret().hex() not in repr(third.account)


async def test_a_wallet_that_was_moved_away_is_told_of_alike(tmp_path: Path) -> None:
    mine = wallet(tmp_path)
    made = shown(await mine.new(schema.WalletNewParams(password=PASSWORD)))
    (tmp_path / "wallet.json").rename(tmp_path / "kept.json")
    assert await mine.show() == replace(made, gone=True)
    answers = (
        await mine.new(schema.WalletNewParams(password=PASSWORD)),
        await mine.import_(schema.WalletImportParams(password=PASSWORD, key=KEY)),
        await mine.backup(),
        await mine.unlock(schema.WalletUnlockParams(password=PASSWORD)),
    )
    for answer in answers:
        assert isinstance(answer, Refusal)
        assert f"moved away from {tmp_path / 'wallet.json'}, and this daemon uses it until it stops" in answer.message
    assert [answer.code for answer in answers if isinstance(answer, Refusal)][:2] == ["wallet_exists"] * 2
    assert names(tmp_path) == ["kept.json"]
    (tmp_path / "kept.json").rename(tmp_path / "wallet.json")
    assert await mine.show() == made


@pytest.mark.parametrize("keystore", [True, False])
async def test_a_key_is_imported(tmp_path: Path, keystore: bool) -> None:
    text = json.dumps(Keystores.encrypt(PAYER.secret(), PASSWORD, kdf="pbkdf2", iterations=1000))
    given = {"keystore": text} if keystore else {"key": KEY}
    made = shown(await wallet(tmp_path).import_(schema.WalletImportParams(password=PASSWORD, **given)))
    assert made.address == checksummed(PAYER.address)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"key": KEY, "keystore": "{}"},
        {"key": "0x12"},
        {"key": "0x" + "00" * 32},
        {"keystore": "{}"},
        {"keystore": "not json"},
        {"keystore": '{"version": 3, "crypto": {}}'},
        {"keystore": "[]"},
    ],
    ids=str,
)
async def test_what_is_no_key_makes_no_wallet(tmp_path: Path, given: dict[str, str]) -> None:
    found = wallet(tmp_path)
    assert isinstance(await found.import_(schema.WalletImportParams(password=PASSWORD, **given)), Refusal)
    assert names(tmp_path) == []


async def test_a_keystore_of_what_is_no_key_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await wallet(tmp_path).new(schema.WalletNewParams(password=PASSWORD))
    nothing = SimpleNamespace(decrypt=lambda *_: bytes(32))
    monkeypatch.setattr("nexusd.services.payments.wallet._keystores", lambda: nothing)
    found = wallet(tmp_path)
    await found.load(PASSWORD)
    assert found.account is None
    assert found.locked == "since it could not be opened (That is not a keystore of version 3)"
    assert (await found.show()) == replace(shown(made), unlocked=False)
    assert isinstance(await found.unlock(schema.WalletUnlockParams(password=PASSWORD)), Refusal)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", None], ids=["cut short", "no text", "a directory"])
async def test_a_damaged_keystore_stops_nothing_and_stays(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "wallet.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    found = wallet(tmp_path)
    await found.load(PASSWORD)
    assert found.address is None
    assert found.locked == f"since {file} cannot be read"
    assert isinstance(await found.new(schema.WalletNewParams(password=PASSWORD)), Refusal)
    assert isinstance(await found.backup(), Refusal)
    assert isinstance(await found.unlock(schema.WalletUnlockParams(password=PASSWORD)), Refusal)
    assert file.is_dir() if content is None else file.read_bytes() == content


async def test_it_says_why_it_is_locked(tmp_path: Path) -> None:
    none = wallet(tmp_path)
    await none.load(None)
    assert none.locked == "", "there is none"
    await none.new(schema.WalletNewParams(password=PASSWORD))
    told = []
    for password in (None, "wrong", PASSWORD):
        found = wallet(tmp_path)
        await found.load(password)
        told.append(found.locked)
    assert told == ["for want of a password", "since it could not be opened (That is not the password)", ""]
    late = wallet(tmp_path)
    await late.load(None)
    await late.unlock(schema.WalletUnlockParams(password=PASSWORD))
    assert late.locked == ""
