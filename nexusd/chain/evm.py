"""A chain behind a JSON-RPC node.

check     chain id, balance, state of the authorisation, code of the payer, domain, the transfer simulated: one batch
evidence  the state; where it is "over", the logs that say how
survey    what settlement decides by
send      a raw transaction
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from nexusd.chain import calls, eip3009
from nexusd.chain.calls import hexadecimal
from nexusd.chain.eip3009 import Log
from nexusd.chain.ports import CHECK_S, Question
from nexusd.chain.reading import read_balance, read_failing, read_head, read_logs, read_sent
from nexusd.chain.rpc import BATCH_CALLS, Answer, Call, Refused, Rpc, data, flag, quantity
from nexusd.chain.surveying import Asked
from nexusd.chain.views import (
    Canceled,
    ChainError,
    ChainFault,
    ChainView,
    Evidence,
    Paid,
    Sent,
    Survey,
    Unused,
)
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.tokens import Holdings, Token
from nexusd_protocols.payments.transaction import Transaction
from nexusd_protocols.payments.verify import Presented

CLOCK_SLACK_S: Final = 900
"""So far before an authorisation came its use is looked for: our clock may be ten minutes fast."""
BACK_STEPS: Final = 24
"""Blocks 1, 2, 4 … 2**23 back are asked for the first one that is old enough: half a year of Base."""
LOG_BLOCKS: Final = 10
"""The narrowest range of blocks that logs are asked for: what the strictest public nodes allow."""
LOG_REQUESTS: Final = 256
"""At most, for one authorisation: 2,560 blocks of the strictest node, more than an hour of Base."""


class EvmChain:
    """See `ports.Chain`. `tokens` are those of this chain that we know."""

    def __init__(self, chain_id: int, url: str, tokens: Iterable[Token]) -> None:
        """Connects on first use. Raises ValueError for what is no http or https URL."""
        self.chain_id: Final = chain_id
        self.network: Final = f"eip155:{chain_id}"
        self._tokens: Final = [token for token in tokens if token.chain_id == chain_id]
        self._rpc = Rpc(url)
        self._multicall = False
        """Whether the contract for several transfers was seen."""

    async def probe(self, *, timeout: float = CHECK_S) -> ChainFault | None:
        """See `ports.Chain`."""
        asked = [calls.CHAIN_ID, *(calls.read(token, eip3009.DOMAIN_SEPARATOR) for token in self._tokens)]
        await self._rpc.load()  # nobody waits for it here, and it is no fault of the node's
        try:
            answers = await self._rpc.batch(asked[:BATCH_CALLS], timeout=timeout)
            self._is_ours(answers[0])
            for token, answer in zip(self._tokens, answers[1:], strict=False):
                _has_domain(token, answer)
        except ChainError as error:
            return error.fault
        return None

    async def check(self, payment: Presented, *, timeout: float = CHECK_S) -> ChainView | ChainFault:
        """See `ports.Chain`."""
        token, authorization = payment.token, payment.authorization
        if token.chain_id != self.chain_id:
            return ChainFault("wrong_chain", "the payment is for another one")
        asked = [
            calls.CHAIN_ID,
            calls.read(token, eip3009.DOMAIN_SEPARATOR),
            calls.read(token, eip3009.balance_of(authorization.from_)),
            calls.state(token, authorization),
            calls.code(authorization.from_),
            calls.simulate(token, authorization, payment.signature),
        ]
        try:
            chain_id, domain, balance, used, code, simulated = await self._rpc.shared(asked, timeout=timeout)
            self._is_ours(chain_id)
            _has_domain(token, domain)
            return ChainView(
                balance=read_balance(balance),
                used=flag(used),
                payer_has_code=data(code) != b"",
                simulated=read_failing(simulated),
            )
        except ChainError as error:
            return error.fault

    async def holdings(self, holder: Address, tokens: Sequence[Token], *, timeout: float) -> Holdings | ChainFault:
        """See `ports.Chain`."""
        asked = [calls.CHAIN_ID, calls.gas(holder), *(calls.read(each, eip3009.balance_of(holder)) for each in tokens)]
        try:
            chain_id, gas, *balances = await self._rpc.batch(asked, timeout=timeout)
            self._is_ours(chain_id)
            return Holdings(quantity(gas), dict(_amounts(tokens, balances)))
        except ChainError as error:
            return error.fault

    async def evidence(
        self, token: Token, authorization: Authorization, *, since_s: int, timeout: float = CHECK_S
    ) -> Evidence | ChainFault:
        """See `ports.Chain`."""
        asked = [calls.CHAIN_ID, calls.state(token, authorization), calls.block("latest")]
        try:
            chain_id, used, block = await self._rpc.batch(asked, timeout=timeout)
            self._is_ours(chain_id)
            head = read_head(block)
            if not flag(used):
                return Unused(head.time_s)
            last = head.number
            first = await self._block_before(since_s - CLOCK_SLACK_S, last, timeout)
            end = await self._find_end(token, authorization, first, last, timeout)
            if end.topics[0] == eip3009.CANCELED:
                return Canceled(end.transaction, end.block)
            return await self._paid(token, authorization, end, timeout)
        except ChainError as error:
            return error.fault

    async def survey(
        self, account: Address | None, questions: Sequence[Question], transactions: Sequence[str], *, timeout: float
    ) -> Survey | ChainFault:
        """See `ports.Chain`. More than BATCH_CALLS questions take several batches, which may see different blocks."""
        asked = Asked(account, questions, transactions, self._multicall)
        try:
            answers = await self._batches(asked.calls(), timeout)
            self._is_ours(answers[0])
            survey = asked.read(answers)
            self._multicall = survey.batches
            return survey
        except ChainError as error:
            return error.fault

    async def send(self, transaction: Transaction, *, timeout: float) -> Sent | ChainFault:
        """See `ports.Chain`."""
        if transaction.network != self.network:
            return ChainFault("wrong_chain", "the transaction is for another one")
        try:
            answer = await self._rpc.call("eth_sendRawTransaction", f"0x{transaction.raw.hex()}", timeout=timeout)
        except ChainError as error:
            return error.fault
        return read_sent(answer)

    def close(self) -> None:
        """See `ports.Chain`."""
        self._rpc.close()

    # --- how it is found ----------------------------------------------------------------------------------------------
    def _is_ours(self, answer: Answer) -> None:
        found = quantity(answer)
        if found != self.chain_id:
            raise ChainError("wrong_chain", f"{found}, not {self.chain_id}")

    async def _batches(self, asked: Sequence[Call], timeout: float) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(asked), BATCH_CALLS):
            answers += await self._rpc.batch(asked[start : start + BATCH_CALLS], timeout=timeout)
        return answers

    async def _block_before(self, time_s: int, last: int, timeout: float) -> int:
        """The number of a block that is not younger than `time_s`, and at most twice as far back as need be."""
        numbers = sorted({max(0, last - (1 << step)) for step in range(BACK_STEPS)}, reverse=True)
        answers = await self._rpc.batch([calls.block(hex(number)) for number in numbers], timeout=timeout)
        for number, answer in zip(numbers, answers, strict=True):
            if isinstance(answer, Refused) or answer is None:  # pruned: what is younger has to do
                break
            if read_head(answer).time_s <= time_s:
                return number
            last = number
        return last

    async def _find_end(self, token: Token, authorization: Authorization, first: int, last: int, timeout: float) -> Log:
        """The log of the use or of the cancelling. Ranges that the node finds too wide are halved."""
        topics = [
            [hexadecimal(eip3009.USED), hexadecimal(eip3009.CANCELED)],
            hexadecimal(eip3009.address_word(authorization.from_)),
            hexadecimal(authorization.nonce),
        ]
        ranges = [(first, last)]
        for _ in range(LOG_REQUESTS):
            if not ranges:
                break
            low, high = ranges.pop()  # the newest blocks first
            filter_ = {"fromBlock": hex(low), "toBlock": hex(high), "address": token.asset, "topics": topics}
            answer = await self._rpc.call("eth_getLogs", filter_, timeout=timeout)
            if isinstance(answer, Refused) and high - low >= LOG_BLOCKS:
                middle = (low + high) // 2
                ranges += [(low, middle), (middle + 1, high)]
                continue
            end = eip3009.end_of(authorization, token.address, read_logs(answer))
            if end is not None:
                return end
        raise ChainError("bad_answer", "the authorisation is over, and no log says how")

    async def _paid(self, token: Token, authorization: Authorization, used: Log, timeout: float) -> Paid:
        """What the payee got, by the transfers of the payer's in the same block: the receipt of a stranger's
        transaction may be of any size."""
        filter_ = {
            "fromBlock": hex(used.block),
            "toBlock": hex(used.block),
            "address": token.asset,
            "topics": [hexadecimal(eip3009.TRANSFER), hexadecimal(eip3009.address_word(authorization.from_))],
        }
        logs = read_logs(await self._rpc.call("eth_getLogs", filter_, timeout=timeout))
        amount = eip3009.paid(authorization, token.address, [used, *logs])
        if amount is None:  # it was cancelled, say logs that were not asked for
            raise ChainError("bad_answer", "logs that contradict one another")
        return Paid(used.transaction, used.block, amount)


def _has_domain(token: Token, answer: Answer) -> None:
    if isinstance(answer, Refused) or data(answer) != token.domain_separator:
        raise ChainError("wrong_token", f"{token.symbol} at {token.asset}")


def _amounts(tokens: Sequence[Token], balances: Sequence[Answer]) -> Iterator[tuple[Token, int]]:
    """Without a token whose contract does not say: it may be none."""
    for token, answer in zip(tokens, balances, strict=True):
        with suppress(ChainError):
            yield token, read_balance(answer)
