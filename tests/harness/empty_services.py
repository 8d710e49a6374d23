"""Services in memory that have nothing: no content, no money, and bob for the only acquaintance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal

ALICE = "12D3KooWAlice"
BOB = "12D3KooWBob"


class FakeWallet:
    """A wallet that is locked."""

    def __init__(self) -> None:
        self.shown = schema.WalletShow(address="0x" + "11" * 20, path="/wallet.json", unlocked=False)

    async def new(self, params: schema.WalletNewParams) -> schema.WalletShow | Refusal:
        return Refusal("wallet_exists")

    async def import_(self, params: schema.WalletImportParams) -> schema.WalletShow | Refusal:
        return Refusal("wallet_exists")

    async def unlock(self, params: schema.WalletUnlockParams) -> schema.WalletShow | Refusal:
        return Refusal("wrong_password")

    async def show(self) -> schema.WalletShow | Refusal:
        return self.shown

    async def backup(self) -> schema.WalletBackup | Refusal:
        return schema.WalletBackup(address=self.shown.address, keystore="{}")


class FakePayments:
    """Nothing was paid, and nothing may be."""

    async def balance(self) -> schema.WalletBalances | Refusal:
        return Refusal("no_wallet")

    async def policy(self, params: schema.ProfileGetParams) -> schema.PayPolicy | Refusal:
        return Refusal("refused")

    async def set_policy(self, params: schema.PayPolicySetParams) -> schema.PayPolicy | Refusal:
        return Refusal("refused")

    async def stop(self, params: schema.PayStopParams) -> schema.PayStopped:
        return schema.PayStopped(stopped=params.stopped)

    async def approvals(self, params: schema.ProfileGetParams) -> schema.PurchaseList | Refusal:
        return schema.PurchaseList(purchases=[])

    async def approve(self, params: schema.PayIdParams) -> schema.PurchaseView | Refusal:
        return Refusal("payment_unknown")

    async def reject(self, params: schema.PayIdParams) -> schema.PurchaseView | Refusal:
        return Refusal("payment_unknown")

    async def history(self, params: schema.PayListParams) -> schema.PurchaseList | Refusal:
        return schema.PurchaseList(purchases=[])

    async def explain(self, params: schema.PayIdParams) -> schema.PayExplained | Refusal:
        return Refusal("payment_unknown")

    async def verify(self, params: schema.PayVerifyParams) -> schema.PayVerified:
        return schema.PayVerified(valid=False, problem="not a receipt")

    async def settlements(self, params: schema.PaySettleParams) -> schema.PaySettleStatus | Refusal:
        return schema.PaySettleStatus(networks=[], totals=[], charges=[])

    async def trust(self, params: schema.PayTrustParams) -> schema.PayTrust | Refusal:
        return schema.PayTrust(levels=[], total="0", offline="0", known_after=1, trusted=[], offences=[])

    async def clear(self, params: schema.PayClearParams) -> schema.PayCleared | Refusal:
        return schema.PayCleared(cleared=0)

    async def usage(self, params: schema.PayUsageParams) -> schema.PayUsage | Refusal:
        return schema.PayUsage(rows=[])


class FakeDirectory:
    """Knows bob, and nobody else."""

    async def find_agent(self, params: schema.FindAgentParams) -> schema.AgentFound | Refusal:
        if params.peer != BOB:
            return Refusal("unknown_peer", f"Nobody knows {params.peer}")
        return schema.AgentFound(peer_id=BOB, connected=True, addresses=[], missing="nothing is published")

    async def find_room(self, params: schema.FindRoomParams) -> schema.RoomFound:
        return schema.RoomFound(room=params.room, members=[])

    async def find_capability(self, params: schema.FindCapabilityParams) -> schema.CapabilityFound:
        return schema.CapabilityFound(name=params.name, providers=[], unreachable=1)


class FakeContent:
    """Content that is nowhere."""

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Refusal]]:
        async def nowhere(*params: Any) -> Refusal:
            return Refusal("content_not_found")

        return nowhere
