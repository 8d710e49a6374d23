"""What one look for settlement asks a node, and what its answers say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nexusd.chain import calls, multicall3
from nexusd.chain.ports import Question
from nexusd.chain.reading import read_count, read_failing, read_head, read_receipt
from nexusd.chain.rpc import Answer, Call, Refused, data, flag, quantity
from nexusd.chain.views import Survey
from nexusd_protocols.payments.address import Address, checksummed

_HEAD: Final = (
    calls.CHAIN_ID,
    calls.block("latest"),
    calls.block("safe"),
    Call("eth_maxPriorityFeePerGas"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One survey. The first of its calls is for the chain id. `batches`: the contract for several transfers was seen
    before, and is there still."""

    account: Address | None
    questions: Sequence[Question]
    transactions: Sequence[str]
    batches: bool = False

    def calls(self) -> list[Call]:
        """Receipts before states: a use that is seen without its receipt is looked up, never the other way about."""
        simulated = self._simulated()
        return [
            *_HEAD,
            *self._of_batches(),
            *self._of_account(),
            *(Call("eth_getTransactionReceipt", (each,)) for each in self.transactions),
            *(calls.state(each.token, each.authorization) for each in self.questions),
            *(calls.code(each.authorization.from_) for each in simulated),
            *(calls.simulate(each.token, each.authorization, each.signature) for each in simulated),
        ]

    def read(self, answers: Sequence[Answer]) -> Survey:
        """Of the answers to these calls. Raises ChainError."""
        rest = iter(answers)
        _, latest, safe, tip = islice(rest, len(_HEAD))
        contract = list(islice(rest, len(self._of_batches())))
        account = list(islice(rest, len(self._of_account())))
        nonce, pending = map(read_count, account[:2]) if account else (0, 0)
        simulated = self._simulated()
        receipts = islice(rest, len(self.transactions))
        states = islice(rest, len(self.questions))
        codes = islice(rest, len(simulated))
        return Survey(
            head=read_head(latest),
            safe=None if safe is None or isinstance(safe, Refused) else read_head(safe).number,
            tip=0 if isinstance(tip, Refused) else quantity(tip),
            nonce=nonce,
            pending=max(nonce, pending),
            gas_balance=quantity(account[2]) if account else 0,
            batches=all(not isinstance(code, Refused) and multicall3.is_code(data(code)) for code in contract),
            receipts={
                name: None if answer is None else read_receipt(answer)
                for name, answer in zip(self.transactions, receipts, strict=True)
            },
            used={each.key: flag(answer) for each, answer in zip(self.questions, states, strict=True)},
            contracts=frozenset(each.key for each, answer in zip(simulated, codes, strict=True) if data(answer)),
            failing={each.key: read_failing(answer) for each, answer in zip(simulated, rest, strict=True)},
        )

    def _of_batches(self) -> list[Call]:
        return [] if self.batches else [calls.code(multicall3.ADDRESS)]

    def _of_account(self) -> list[Call]:
        if self.account is None:
            return []
        name = checksummed(self.account)
        counts = [Call("eth_getTransactionCount", (name, tag)) for tag in ("latest", "pending")]
        return [*counts, calls.gas(self.account)]

    def _simulated(self) -> list[Question]:
        return [each for each in self.questions if each.simulate]
