"""A daemon that sells, settles on a chain, and writes down what it works on; and calls to it by payers of any kind."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final, Self

from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.invoke.frames import OpenFrame
from nexusd_protocols.payments import binding, terms, x402
from nexusd_protocols.payments.authorization import Account, sign
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.tokens import Tokens
from tests.crash.market import keep_wallet
from tests.harness.daemon import Daemon, Home
from tests.harness.localchain import LocalChain
from tests.harness.mallory import INVOKE, Line, Mallory
from tests.harness.paying import PAYEE, PAYER
from tests.harness.process import poll
from tests.harness.rpcnode import Visit

PRICE: Final = 100_000
"""What a call costs: 0.1 USDC."""
ENDED: Final = ("settled", "released", "lost")

_FIELDS: Final = {
    "maxDurationMs": "max_duration_ms",
    "maxInputBytes": "max_input_bytes",
    "maxOutputBytes": "max_output_bytes",
}


def wrong(off_s: int) -> list[str]:
    """What a daemon is run through so that its clock is wrong."""
    return [sys.executable, "-m", "tests.harness.wrongclock", str(off_s)] if off_s else []


class Tap:
    """A node in front of a chain that can be closed: against checks of payments, and against transactions."""

    def __init__(self, chain: LocalChain) -> None:
        self.checks = threading.Event()
        self.checks.set()
        self.asked = threading.Event()
        """A check waits, or went through, since this was cleared."""
        self.settles = True
        self._port = chain.port

    def __call__(self, visit: Visit) -> None:
        methods = {call["method"] for call in visit.calls}
        if "eth_getCode" in methods:
            self.asked.set()
            self.checks.wait(30)
        if not self.settles and "eth_sendRawTransaction" in methods:
            visit.answer([RuntimeError("not now") for _ in visit.calls])
            return
        visit.send_answers(visit.forward(self._port))


class Shop:
    """It has the payee's wallet, and serves `upper`."""

    def __init__(
        self, name: str, home: Home, chain: LocalChain, *flags: str, off_s: int = 0, node: str | None = None
    ) -> None:
        """Starts the daemon. `off_s`: by how much its clock is wrong. `node`: what is between it and the chain."""
        keep_wallet(home, name, PAYEE)
        self.worked = home.directory / f"{name}.worked"
        self.worked.touch()
        self.daemon = Daemon(name, home, "--rpc-urls", f"base={node or chain.url}", *flags, through=wrong(off_s))

    @property
    def peer_id(self) -> PeerId:
        return PeerId(self.daemon.peer_id)

    def __enter__(self) -> Self:
        self.daemon.__enter__()
        try:
            self.serve("upper", f"tee -a {self.worked} | tr a-z A-Z")
        except BaseException:
            self.daemon.kill9()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.daemon.__exit__(kind, error, trace)

    def serve(self, name: str, script: str, *options: str, price: str = "0.10") -> None:
        fixed = ("--price", price, "--max-concurrent", "100")
        self.daemon.cli("capability", "serve", name, *fixed, *options, "--", "sh", "-c", script)

    def charges(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.daemon.rpc("pay.settlements", limit=500)["charges"]
        return found

    def settled(self) -> list[dict[str, Any]]:
        """The charges, once nothing is on its way."""
        poll(lambda: all(row["state"] in ENDED for row in self.charges()), "settled", timeout=60)
        return self.charges()


@dataclass(frozen=True, slots=True)
class Order:
    """A call. `fields` are further ones of `invoke.open`."""

    id: str
    capability: str = "upper"
    data: Any = "x"
    stream: bool = False
    fields: dict[str, Any] = field(default_factory=dict)

    def opening(self, payment: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its first two frames; with a payment, if it is shown at once."""
        opened = self.frame(
            "open",
            capability=self.capability,
            inputFormat="text/plain",
            outputMode="stream" if self.stream else "unary",
            **self.fields,
        )
        if payment is not None:
            opened["_meta"] = {"x402/payment": payment}
        return opened, self.frame("chunk", seq=0, isFinalInput=True, data=self.data)

    def proof(self, payment: Any) -> dict[str, Any]:
        """The answer to a demand."""
        return self.frame("payment_proof", _meta={"x402/payment": payment})

    def frame(self, name: str, **fields: Any) -> dict[str, Any]:
        return {"type": f"invoke.{name}", "version": 1, "requestId": self.id, **fields}

    def request(self, caller: PeerId) -> bytes:
        """The digest that payments are bound to."""
        opened = OpenFrame(
            version=1,
            request_id=self.id,
            capability=self.capability,
            input_format="text/plain",
            output_mode="stream" if self.stream else "unary",
            **{_FIELDS[name]: value for name, value in self.fields.items()},
        )
        return binding.request_digest(
            request_id=self.id, caller=AgentId(caller), to_agent=None, content=opened.content()
        )


async def demanded(payer: Mallory, shop: Shop, order: Order) -> dict[str, Any]:
    """What a call costs; the call is given up then."""
    line, demand = await ask(payer, shop, order)
    await line.reset()
    return demand


async def ask(payer: Mallory, shop: Shop, order: Order) -> tuple[Line, dict[str, Any]]:
    """A call that waits for its payment, and what it costs."""
    line = await payer.open(shop.daemon, INVOKE)
    await line.say(*order.opening())
    demand = await line.answer()
    assert demand["type"] == "invoke.payment_required", demand
    return line, demand["_meta"]["x402/payment-required"]


async def begin(payer: Mallory, shop: Shop, order: Order, payment: Any) -> Line:
    """A call that shows a payment from the start."""
    line = await payer.open(shop.daemon, INVOKE)
    await line.say(*order.opening(payment))
    return line


async def show(payer: Mallory, shop: Shop, order: Order, payment: Any) -> list[dict[str, Any]]:
    """The same, and all that is answered."""
    line = await begin(payer, shop, order, payment)
    return await _rest(line)


async def buy(payer: Mallory, shop: Shop, order: Order, *, account: Account = PAYER) -> list[dict[str, Any]]:
    """A call that is paid for as our own payers do it."""
    line, demand = await ask(payer, shop, order)
    await line.say(order.proof(bound(demand, payer, shop.peer_id, order, account=account)))
    return await _rest(line)


async def _rest(line: Line) -> list[dict[str, Any]]:
    """All frames, and the stream is gone."""
    frames = await line.answers()
    await line.reset()
    return frames


def bound(
    demand: dict[str, Any],
    payer: Mallory,
    provider: PeerId,
    order: Order,
    *,
    account: Account = PAYER,
    salt: bytes = bytes(range(32)),
    value: int | None = None,
) -> dict[str, Any]:
    """A payment that names its call, as our own payers make it."""
    read = terms.read_required(demand, Tokens())
    assert isinstance(read, terms.Required)
    (offer,) = read.offers
    context = Context(provider, order.request(payer.peer_id))
    nonce = binding.nonce(context, binding.offer_digest(offer.raw), salt)
    authorization = x402.authorize(offer.terms, account.address, nonce, int(time.time()), value=value)
    return x402.payment(offer, read, authorization, sign(authorization, offer.terms.token, account), salt)


def events(frames: list[dict[str, Any]]) -> list[Any]:
    """What was handed over."""
    return [frame["data"] for frame in frames if frame["type"] == "invoke.event"]


def response(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """The provider's word on the payment; empty if it has none."""
    found: dict[str, Any] = frames[-1].get("_meta", {}).get("x402/payment-response", {})
    return found


def outcome(frames: list[dict[str, Any]]) -> str:
    """`done`, or the name of what was wrong."""
    last = frames[-1]
    if last["type"] == "invoke.done":
        return "done"
    return str(response(frames).get("errorReason") or last.get("code"))
