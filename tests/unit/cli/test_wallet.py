"""The wallet's commands: whom they ask for a password, when, and what they say."""

from __future__ import annotations

import getpass
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nexusd.cli.session import Session
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal

ADDRESS = "0x6434DeBA006828bC4AfB97780Ec9A29173D4F0f5"
OPEN = schema.WalletShow(address=ADDRESS, path="/home/wallet.json", unlocked=True)
LOCKED = schema.WalletShow(address=ADDRESS, path="/home/wallet.json", unlocked=False)
NONE = Refusal("no_wallet")
KEYSTORE = '{"version": 3, "address": "aa", "crypto": {}}'


class Person:
    """At the terminal: gives these answers, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.asked: list[str] = []

    def __call__(self, prompt: str, stream: Any = None) -> str:
        self.asked.append(prompt)
        return self.answers.pop(0)


@pytest.fixture
def person(monkeypatch):
    monkeypatch.delenv("NEXUS_WALLET_PASSWORD", raising=False)
    person = Person()
    monkeypatch.setattr(getpass, "getpass", person)
    return person


def passwords(daemon, method):
    return [params.password for name, params in daemon.asked if name == method]


def test_a_new_wallets_password_is_typed_twice(nexus, daemon, person):
    daemon.script |= {"wallet.show": NONE, "wallet.new": OPEN}
    person.answers = ["hunter22", "hunter22"]
    ran = nexus("wallet", "new", tty=True)
    assert ran.out == f"address  {ADDRESS}\nstate    open\nfile     /home/wallet.json\n"
    assert ran.err.startswith("making a key of the password")
    assert "nexus wallet backup FILE" in ran.err
    assert person.asked == ["Choose a password for the wallet: ", "Once more: "]
    assert passwords(daemon, "wallet.new") == ["hunter22"]
    person.answers = ["hunter22", "hunter23"]
    ran = nexus("wallet", "new", tty=True)
    assert (ran.code, ran.err) == (1, "nexus: the two are not the same\n  try again: nothing was made\n")
    person.answers = [""]
    assert "the password is empty" in nexus("wallet", "new", tty=True).err
    assert len(passwords(daemon, "wallet.new")) == 1


@pytest.mark.parametrize("command", [["new"], ["import", "key"]])
def test_nobody_is_asked_for_the_password_of_a_wallet_that_cannot_be_made(nexus, daemon, person, tmp_path, command):
    (tmp_path / "key").write_text("ab" * 32)
    daemon.script["wallet.show"] = OPEN
    ran = nexus("wallet", *[str(tmp_path / word) if word == "key" else word for word in command])
    assert (ran.code, ran.error["code"], person.asked) == (1, "wallet_exists", [])
    assert "/home/wallet.json: move it away first, keep it, and start the daemon again" in ran.error["message"]
    daemon.script["wallet.show"] = replace(OPEN, gone=True)
    ran = nexus("wallet", *[str(tmp_path / word) if word == "key" else word for word in command])
    assert (ran.error["code"], person.asked) == ("wallet_exists", [])
    assert "was moved away from /home/wallet.json, and is used still: put it back, or start" in ran.error["message"]
    assert "/home/wallet.json is gone, and the wallet used still" in nexus("wallet", "show", tty=True).out


def test_who_types_no_password_is_told_that_nothing_was_done(nexus, daemon, monkeypatch):
    def ends(prompt, stream):
        raise EOFError

    monkeypatch.delenv("NEXUS_WALLET_PASSWORD", raising=False)
    monkeypatch.setattr(getpass, "getpass", ends)
    daemon.script["wallet.show"] = NONE
    ran = nexus("wallet", "new", tty=True)
    assert (ran.code, ran.err) == (1, "\nnexus: no password was typed\n  try again: nothing was done\n")
    daemon.script["wallet.show"] = LOCKED
    assert nexus("wallet", "unlock").error["message"] == "no password was typed"


def test_who_does_not_wait_for_a_wallet_is_told_that_it_is_made_all_the_same(nexus, daemon, person, monkeypatch):
    daemon.script["wallet.show"] = NONE
    person.answers = ["hunter22", "hunter22"]
    asked = Session.call

    def interrupted(session, method, **fields):
        if method == "wallet.new":
            raise KeyboardInterrupt
        return asked(session, method, **fields)

    monkeypatch.setattr(Session, "call", interrupted)
    ran = nexus("wallet", "new", tty=True)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        "the daemon goes on with it all the same: `nexus wallet show` tells what came of it"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "that is no keystore of version 3"),
        ("{", "that is no keystore of version 3"),
        ("{" * 5000, "that is no keystore of version 3"),
        ('{"version": 4, "crypto": {}}', "that is no keystore of version 3"),
        ("00" * 32, "that is no key: as a number it is 0, or not below the order of secp256k1"),
        ("ff" * 32, "that is no key: as a number it is 0, or not below the order of secp256k1"),
    ],
    ids=["empty", "cut short", "deep", "other version", "zero", "large"],
)
def test_what_is_no_key_is_seen_before_a_password_is_asked_for(nexus, daemon, person, tmp_path, given, message):
    file = tmp_path / "given"
    file.write_text(given)
    daemon.script["wallet.show"] = NONE
    ran = nexus("wallet", "import", str(file))
    assert (ran.error["message"], person.asked) == (message, [])


def test_who_has_no_wallet_is_not_asked_for_its_password(nexus, daemon, person):
    daemon.script["wallet.show"] = NONE
    ran = nexus("wallet", "unlock")
    assert (ran.error["code"], person.asked) == ("no_wallet", [])
    daemon.script["wallet.show"] = OPEN
    ran = nexus("wallet", "unlock", tty=True)
    assert (ran.code, ran.err, person.asked) == (0, "it is open already\n", [])
    daemon.script |= {"wallet.show": LOCKED, "wallet.unlock": OPEN}
    person.answers = ["hunter22"]
    ran = nexus("wallet", "unlock")
    assert (ran.code, ran.err) == (0, "")
    assert (person.asked, passwords(daemon, "wallet.unlock")) == (["Password of the wallet: "], ["hunter22"])


def test_passwords_of_files_and_of_the_environment(nexus, daemon, person, tmp_path, monkeypatch):
    daemon.script |= {"wallet.show": LOCKED, "wallet.unlock": OPEN}
    file = tmp_path / "password"
    file.write_text("of the file\nanother line\n")
    assert nexus("wallet", "unlock", "--password-file", str(file)).code == 0
    monkeypatch.setenv("NEXUS_WALLET_PASSWORD", "of the environment")
    assert nexus("wallet", "unlock").code == 0
    assert nexus("wallet", "unlock", "--password-file", str(file)).code == 0
    assert passwords(daemon, "wallet.unlock") == ["of the file", "of the environment", "of the file"]
    assert person.asked == []
    monkeypatch.delenv("NEXUS_WALLET_PASSWORD")
    ran = nexus("wallet", "unlock", stdin=b"")
    assert "type it on a terminal, or use --password-file or NEXUS_WALLET_PASSWORD" in ran.error["try"]
    assert "cannot be read" in nexus("wallet", "unlock", "--password-file", str(tmp_path / "none")).error["message"]


def test_what_is_backed_up_is_imported_with_its_password_typed_once(nexus, daemon, person, tmp_path):
    daemon.script["wallet.backup"] = schema.WalletBackup(address=ADDRESS, keystore=KEYSTORE)
    copy = tmp_path / "copy.json"
    ran = nexus("wallet", "backup", str(copy), tty=True)
    assert f"`nexus wallet import {copy}` restores it" in ran.out
    assert (copy.read_text(), stat.S_IMODE(copy.stat().st_mode)) == (KEYSTORE, 0o600)
    assert nexus("wallet", "backup", str(copy)).error["message"].startswith(f"{copy} cannot be written")
    assert json.loads(nexus("wallet", "backup", tty=True).out) == json.loads(KEYSTORE)
    daemon.script |= {"wallet.show": NONE, "wallet.import": OPEN}
    person.answers = ["hunter22"]
    assert nexus("wallet", "import", str(copy)).code == 0
    assert person.asked == ["Password of the wallet: "]
    assert daemon.params("wallet.import") == schema.WalletImportParams(password="hunter22", keystore=KEYSTORE)


def test_a_bare_key_gets_a_new_password(nexus, daemon, person):
    daemon.script |= {"wallet.show": NONE, "wallet.import": OPEN}
    key = "0x" + "ab" * 32
    ran = nexus("wallet", "import", "-", stdin=f"{key}\n".encode())
    assert "there is no password" in ran.error["message"], "what is piped in is the key, and nobody is there to ask"
    assert nexus("wallet", "import", stdin=b"my key").error["message"].startswith("that is neither a keystore nor 32")
    assert "a key in the command would stay in its history" in nexus("wallet", "import").error["try"]
    assert [name for name, _ in daemon.asked if name == "wallet.import"] == []


def balance(network: str, **fields: Any) -> schema.WalletBalance:
    return schema.WalletBalance(**{"network": network, "asset": "USDC", "online": True, **fields})


@pytest.mark.parametrize(
    ("balances", "shown"),
    [
        (
            [
                balance("base", amount="4.9", gas="0.999999123456789"),
                balance("polygon", problem="deadline"),
                balance("eip155:5", amount="0", gas="10"),
                balance("ethereum", online=False),
                balance("base-sepolia", online=False),
            ],
            """\
NETWORK   BALANCE       GAS
base      4.9 USDC      0.999999 ETH
polygon   unknown USDC  unknown       deadline
eip155:5  0 USDC        10
not known on ethereum, base-sepolia: no node of theirs is in rpc_urls
""",
        ),
        (
            [balance("base", online=False)],
            (
                "no node of a chain is configured, so that nobody can be asked what the wallet holds: put one into "
                'config.toml, such as rpc_urls = ["base=https://mainnet.base.org"], and start the daemon again\n'
            ),
        ),
    ],
)
def test_what_it_holds(nexus, daemon, person: Person, tmp_path: Path, balances, shown):
    daemon.script["wallet.balance"] = schema.WalletBalances(address=ADDRESS, balances=balances)
    assert nexus("wallet", "balance", tty=True).out == f"{ADDRESS}\n{shown}"
