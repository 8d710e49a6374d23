"""What a chain says of a payment, against real ones: paid, taken back, drained, shown by somebody else; and nodes that
lie in front of them. On anvil and on py-evm, but for what needs a pool of transactions that wait."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trio

from nexusd.chain import eip3009
from nexusd.chain.evm import EvmChain
from nexusd.chain.ports import Question
from nexusd.chain.views import Canceled, ChainFault, ChainView, Paid, Survey, Unused
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Account, Authorization, sign
from nexusd_protocols.payments.tokens import Holdings, Tokens
from nexusd_protocols.payments.transaction import Fees
from nexusd_protocols.payments.transaction import sign as sign_transaction
from nexusd_protocols.payments.verify import Presented
from tests.harness.localchain import TOKEN, LocalChain
from tests.harness.rpcnode import RpcNode, Visit
from tests.interop.conftest import on_anvil

PRICE = 100_000


@pytest.fixture
def process(chain_process: LocalChain) -> Iterator[LocalChain]:
    """The chain, undone behind each test."""
    before = chain_process.snapshot()
    yield chain_process
    chain_process.revert(before)


def connect(process: LocalChain, url: str = "", chain_id: int = 0) -> EvmChain:
    """As a daemon has it, whose configuration adds the chain's token to those that are known."""
    known = Tokens([process.token])
    return EvmChain(chain_id or process.token.chain_id, url or process.url, known)


@pytest.fixture
def chain(process: LocalChain) -> Iterator[EvmChain]:
    chain = connect(process)
    yield chain
    chain.close()


class Payer:
    """Alice, who pays bob, who has money if not said otherwise."""

    def __init__(self, process: LocalChain, name: int = 1, money: int = 10 * PRICE) -> None:
        self.process = process
        self.account = Account(name.to_bytes(32, "big"))
        self.bob = Account(bytes(30) + b"bo").address
        self.nonces = 0
        if money:
            process.mint(self.account.address, money)

    def presents(self, amount: int = PRICE, window_s: int = 60, nonce: bytes = b"", **changes) -> Presented:
        self.nonces += 1
        authorization = Authorization(
            from_=self.account.address,
            to=self.bob,
            value=amount,
            valid_after=0,
            valid_before=self.process.time + window_s,
            nonce=nonce or self.nonces.to_bytes(32, "big"),
        )
        authorization = replace(authorization, **changes)
        token = self.process.token
        signature = sign(authorization, token, self.account)
        return Presented(version=2, token=token, authorization=authorization, signature=signature, salt=None)


async def code_of(chain: EvmChain, payment: Presented) -> str:
    view = await chain.check(payment)
    assert isinstance(view, ChainView), view
    refusal = view.refusal(payment.authorization)
    return refusal.code if refusal else ""


async def test_what_somebody_has(process: LocalChain, chain: EvmChain) -> None:
    """A token whose contract does not say is left out: it may be configured wrongly."""
    payer = Payer(process)
    nothing = replace(process.token, address=bytes(19) + b"x")
    process.fund(payer.account.address, 7)
    found = await chain.holdings(payer.account.address, [process.token, nothing], timeout=5)
    assert found == Holdings(7, {process.token: 10 * PRICE})


async def evidence(chain: EvmChain, payment: Presented, since_s: int = 0):
    return await chain.evidence(payment.token, payment.authorization, since_s=since_s or int(time.time()))


async def test_the_right_chain_with_the_right_tokens(chain: EvmChain, process: LocalChain):
    assert await chain.probe() is None
    process.set_code(process.token.address, b"")
    assert (await chain.probe()).code == "wrong_token"
    payment = Payer(process, money=0).presents()
    assert (await chain.check(payment)).code == "wrong_token"


async def test_another_chain(process: LocalChain):
    other = connect(process, chain_id=1)
    found = await other.probe()
    assert (found.code, found.detail) == ("wrong_chain", f"{process.token.chain_id}, not 1")
    assert (await other.check(Payer(process).presents())).code == "wrong_chain"
    other.close()


async def test_a_token_under_another_name(process: LocalChain):
    wrong = replace(process.token, name="USDC")
    chain = EvmChain(wrong.chain_id, process.url, [wrong])
    assert (await chain.probe()).code == "wrong_token"
    chain.close()


async def test_a_payment_that_would_go_through(chain: EvmChain, process: LocalChain):
    payment = Payer(process).presents()
    view = await chain.check(payment)
    assert view == ChainView(balance=10 * PRICE)
    assert view.refusal(payment.authorization) is None
    assert isinstance(await evidence(chain, payment), Unused)


async def test_too_little_money(chain: EvmChain, process: LocalChain):
    payment = Payer(process, money=PRICE - 1).presents()
    assert await code_of(chain, payment) == faults.INSUFFICIENT_FUNDS


async def test_used_by_whoever_shows_it(chain: EvmChain, process: LocalChain):
    payer = Payer(process)
    payment = payer.presents()
    transaction = process.pay(payment.authorization, payment.signature)
    assert await code_of(chain, payment) == faults.TRANSACTION_STATE
    assert await evidence(chain, payment) == Paid(transaction, process.number, PRICE)
    assert process.balance(payer.bob) == PRICE


async def test_taken_back(chain: EvmChain, process: LocalChain):
    payer = Payer(process)
    payment = payer.presents()
    transaction = process.cancel(payer.account, payment.authorization.nonce)
    assert await code_of(chain, payment) == faults.TRANSACTION_STATE
    assert await evidence(chain, payment) == Canceled(transaction, process.number)


async def test_used_for_somebody_else_or_for_less(chain: EvmChain, process: LocalChain):
    payer = Payer(process)
    nonce = bytes([7]) * 32
    payment = payer.presents(nonce=nonce)
    carol = payer.presents(nonce=nonce, to=Address(bytes([5]) * 20))
    process.pay(carol.authorization, carol.signature)
    found = await evidence(chain, payment)
    assert isinstance(found, Paid)
    assert found.amount == 0

    tab = payer.presents(nonce=bytes([8]) * 32)
    lower = payer.presents(nonce=bytes([8]) * 32, amount=PRICE // 4)
    process.pay(lower.authorization, lower.signature)
    found = await evidence(chain, tab)
    assert isinstance(found, Paid)
    assert found.amount == PRICE // 4


async def test_a_payer_that_is_a_contract(chain: EvmChain, process: LocalChain):
    payer = Payer(process)
    payment = payer.presents()
    process.set_code(payer.account.address, b"\0")
    assert await code_of(chain, payment) == faults.SIGNATURE


async def test_a_token_that_is_paused_says_why(chain: EvmChain, process: LocalChain):
    payment = Payer(process).presents()
    process.pause(True)
    view = await chain.check(payment)
    refusal = view.refusal(payment.authorization)
    assert refusal.code == faults.UNEXPECTED_VERIFY
    assert "paused" in refusal.detail


async def test_a_signature_of_another_form_or_a_time_that_is_over(chain: EvmChain, process: LocalChain):
    payer = Payer(process)
    payment = payer.presents()
    other = replace(payment, signature=bytes(64) + b"\x1b")
    assert await code_of(chain, other) == faults.UNEXPECTED_VERIFY
    assert await code_of(chain, payer.presents(window_s=-1)) == faults.UNEXPECTED_VERIFY


@on_anvil
async def test_a_use_of_long_ago_is_found_where_logs_come_ten_blocks_at_a_time(process: LocalChain):
    """The strictest of public nodes."""
    payment = Payer(process).presents(window_s=3600)
    since = process.time
    process.mine(100, 2)
    transaction = process.pay(payment.authorization, payment.signature)
    block = process.number
    process.mine(300, 2)
    widest = []

    def script(visit: Visit) -> None:
        answers = visit.forward(process.port)
        for call, answer in zip(visit.calls, answers, strict=True):
            if call["method"] == "eth_getLogs":
                first, last = (int(call["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
                if last - first >= 10:
                    answer.pop("result")
                    answer["error"] = {"code": -32600, "message": "up to a 10 block range"}
                else:
                    widest.append(last - first)
        visit.send(json.dumps(answers).encode())

    with RpcNode(script) as node:
        chain = connect(process, node.url)
        assert await evidence(chain, payment, since_s=since) == Paid(transaction, block, PRICE)
        assert len(widest) < 120
        chain.close()


async def test_a_survey_in_one_batch(chain: EvmChain, process: LocalChain):
    payer = Payer(process, money=3 * PRICE)
    gas = Account(bytes(31) + b"g")
    process.fund(gas.address, 12345)
    good, used, late = payer.presents(), payer.presents(), payer.presents(window_s=-5)
    transaction = process.pay(used.authorization, used.signature)
    unknown = "0x" + "12" * 32
    questions = [
        Question(
            key=each.key,
            token=each.token,
            authorization=each.authorization,
            signature=each.signature,
            simulate=simulate,
        )
        for each, simulate in ((good, True), (used, False), (late, True))
    ]
    found = await chain.survey(gas.address, questions, [transaction, unknown], timeout=20)
    assert isinstance(found, Survey)
    assert (found.head.number, found.head.time_s) == (process.number, process.time)
    assert found.head.base_fee > 0
    assert found.safe is not None
    assert found.safe <= found.head.number
    assert (found.nonce, found.pending, found.gas_balance) == (0, 0, 12345)
    assert found.used == {good.key: False, used.key: True, late.key: False}
    assert found.failing[good.key] == ""
    assert "expired" in found.failing[late.key]
    assert used.key not in found.failing
    assert found.receipts[unknown] is None
    receipt = found.receipts[transaction]
    assert receipt.success
    assert receipt.block == found.head.number
    assert eip3009.paid(used.authorization, used.token.address, receipt.logs) == PRICE
    assert eip3009.paid(good.authorization, good.token.address, receipt.logs) is None
    with_nobody = await chain.survey(None, [], [], timeout=20)
    assert (with_nobody.nonce, with_nobody.used) == (0, {})


@on_anvil
async def test_what_comes_of_sending(chain: EvmChain, process: LocalChain):
    payer = Payer(process)
    gas = Account(bytes(31) + b"h")
    process.mining(False)
    fees, token = Fees(20 * 10**9, 10**9), process.token

    def settle(nonce: int, fees: Fees = fees):
        payment = payer.presents()
        data = eip3009.transfer_with_authorization(payment.authorization, payment.signature)
        return sign_transaction(
            gas, chain_id=token.chain_id, nonce=nonce, fees=fees, gas=160_000, to=token.address, data=data
        )

    async def send(transaction) -> str:
        return (await chain.send(transaction, timeout=20)).result

    assert await send(settle(0)) == "no_gas_money"
    process.fund(gas.address)
    first = settle(0)
    assert await send(first) == "sent"
    assert await send(first) == "known"
    assert await send(settle(0)) == "taken"
    assert await send(settle(0, Fees(30 * 10**9, 2 * 10**9))) == "sent"
    assert await send(settle(2)) == "sent"
    process.mine()
    assert await send(first) == "nonce_used"
    assert await send(settle(1, Fees(1, 1))) == "fee_too_low"
    other = sign_transaction(gas, chain_id=1, nonce=1, fees=fees, gas=160_000, to=token.address, data=b"")
    assert await chain.send(other, timeout=20) == ChainFault("wrong_chain", "the transaction is for another one")
    process.mining(True)


# --- nodes that lie --------------------------------------------------------------------------------------------------
def lie(process: LocalChain, method: str, result) -> RpcNode:
    """The chain, but for the answers to one method."""

    def script(visit: Visit) -> None:
        answers = visit.forward(process.port)
        for call, answer in zip(visit.calls, answers, strict=True):
            if call["method"] == method:
                answer["result"] = result
        visit.send(json.dumps(answers).encode())

    return RpcNode(script)


@pytest.mark.parametrize(
    ("method", "result", "code"),
    [
        ("eth_chainId", "0x1", "wrong_chain"),
        ("eth_chainId", None, "bad_answer"),
        ("eth_call", "0x", "wrong_token"),
        ("eth_call", "0x" + "00" * 32, "wrong_token"),
        ("eth_getCode", 7, "bad_answer"),
    ],
)
async def test_a_check_fails_closed(process: LocalChain, method: str, result, code: str):
    payment = Payer(process).presents()
    with lie(process, method, result) as node:
        chain = connect(process, node.url)
        found = await chain.check(payment)
        assert isinstance(found, ChainFault)
        assert found.code == code
        chain.close()


async def test_a_check_goes_in_parts_where_a_node_takes_few_calls_at_a_time(process: LocalChain):
    payment = Payer(process).presents()

    def script(visit: Visit) -> None:
        if len(visit.calls) > 2:
            visit.send(b"", "413 Payload Too Large")
        else:
            visit.send_answers(visit.forward(process.port))

    with RpcNode(script) as node:
        chain = connect(process, node.url)
        assert await chain.check(payment) == ChainView(balance=10 * PRICE)
        chain.close()


@pytest.mark.parametrize("kept", range(6))
async def test_a_check_of_which_an_answer_lacks(process: LocalChain, kept: int):
    payment = Payer(process).presents()

    def script(visit: Visit) -> None:
        answers = visit.forward(process.port)
        del answers[kept]
        visit.send(json.dumps(answers).encode())

    with RpcNode(script) as node:
        chain = connect(process, node.url)
        assert (await chain.check(payment)).code == "bad_answer"
        assert node.visits == 1  # one batch
        chain.close()


async def test_a_node_that_hangs_costs_a_check_its_time_limit_and_no_more():
    with RpcNode(lambda visit: visit.hang()) as node:
        chain = EvmChain(TOKEN.chain_id, node.url, [TOKEN])
        authorization = Authorization(
            from_=Account(bytes(31) + b"a").address,
            to=Address(bytes(19) + b"b"),
            value=1,
            valid_after=0,
            valid_before=2**40,
            nonce=bytes(32),
        )
        payment = Presented(version=2, token=TOKEN, authorization=authorization, signature=bytes(65), salt=None)
        with trio.fail_after(10):
            assert (await chain.check(payment, timeout=0.3)).code == "deadline"
        chain.close()


async def test_what_a_survey_cannot_read_is_a_fault(process: LocalChain):
    payment = Payer(process).presents()
    question = Question(
        key=payment.key, token=payment.token, authorization=payment.authorization, signature=payment.signature
    )
    for method, result in (
        ("eth_getBlockByNumber", None),
        ("eth_getBlockByNumber", {"number": "0x1"}),
        ("eth_getBlockByNumber", {"number": "0x8000000000000000", "timestamp": "0x1"}),
        ("eth_getBlockByNumber", {"number": "0x1", "timestamp": "0xffffffffffffffffff"}),
        ("eth_getTransactionCount", "many"),
        ("eth_getBalance", -1),
        ("eth_getTransactionCount", "0x8000000000000000"),
        ("eth_chainId", "0x2"),
        ("eth_getTransactionReceipt", {"blockNumber": "0x1", "status": "0x1", "logs": {}}),
        ("eth_getTransactionReceipt", {"blockNumber": "0x1", "status": True, "logs": []}),
        ("eth_getTransactionReceipt", [{"blockNumber": "0x1"}]),
        ("eth_call", "0x02"),
    ):
        with lie(process, method, result) as node:
            chain = connect(process, node.url)
            found = await chain.survey(Address(bytes(20)), [question], ["0x" + "12" * 32], timeout=20)
            assert isinstance(found, ChainFault), (method, result)
            chain.close()
