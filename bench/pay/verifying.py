"""How many payments one core checks in a second: ours, beside what others need for the same and for less.

Everything runs in this process on one core, in turn, each for as long; so a disturbance meets all alike.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import time
from collections.abc import Callable

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from nexusd_protocols.payments.authorization import recover, sign
from nexusd_protocols.payments.verify import read, verify
from tests.harness.official_x402 import Official, eth_recover
from tests.harness.paying import NOW, PAYER, payment, price

PAYMENTS = 64
"""Different ones, so that nothing is remembered from the one before."""


def works() -> dict[str, Callable[[int], object]]:
    """What is measured, by name: functions of the number of a payment."""
    now = int(time.time())
    terms = price(max_timeout_s=3600)
    made = [payment(terms, nonce=bytes([number]) * 32, now_s=now) for number in range(PAYMENTS)]
    texts = [json.dumps(one).encode() for one in made]
    checked = [verify(one, [terms], now_s=now) for one in made]
    shown = [(one.authorization, one.signature) for one in checked]
    official, wanted = Official(), terms.requirements()
    context = GLOBAL_CONTEXT.ctx
    parsed = []
    for authorization, signature in shown:
        one = ffi.new("secp256k1_ecdsa_recoverable_signature *")
        lib.secp256k1_ecdsa_recoverable_signature_parse_compact(context, one, signature[:64], signature[64] - 27)
        parsed.append((one, authorization.digest(terms.token)))
    key = ffi.new("secp256k1_pubkey *")
    assert official.verify(made[0], wanted) == ""
    return {
        "libsecp256k1, recovery alone": lambda i: lib.secp256k1_ecdsa_recover(context, key, *parsed[i]),
        "ours: digest and recovery": lambda i: recover(shown[i][0], terms.token, shown[i][1]),
        "ours: the payment's object to a verdict": lambda i: verify(made[i], [terms], now_s=now),
        "ours: the payment's text to a verdict": lambda i: verify(read(texts[i]), [terms], now_s=now),
        "ours: refusing a text that is too late": lambda i: verify(read(texts[i]), [terms], now_s=NOW * 2),
        "ours: signing": lambda i: sign(shown[i][0], terms.token, PAYER),
        "eth-account: digest and recovery": lambda i: eth_recover(shown[i][0], terms.token, shown[i][1]),
        "official facilitator, over a chain that costs nothing": lambda i: official.verify(made[i], wanted),
    }


def measure(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Rates a second of each work, in each round."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    todo = works()
    rates: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(rounds):
        for name, work in todo.items():
            rates[name].append(_rate(work, seconds))
    return rates


def _rate(work: Callable[[int], object], seconds: float) -> float:
    count = 0
    numbers = itertools.cycle(range(PAYMENTS))
    begin = time.perf_counter()
    used = time.process_time()
    while (elapsed := time.perf_counter() - begin) < seconds:
        for _ in range(16):
            work(next(numbers))
        count += 16
    # time of this process: what neighbours take of the core is not ours
    return count / max(1e-9, min(elapsed, time.process_time() - used))


def table(rates: dict[str, list[float]]) -> str:
    """For people: median, lowest and highest, and the share of the limit."""
    bare = statistics.median(rates["libsecp256k1, recovery alone"])
    lines = [f"{'':55}{'a second':>10}{'(lowest–highest)':>20}{'of the limit':>14}"]
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"({min(values):,.0f}–{max(values):,.0f})"
        lines.append(f"{name:55}{middle:>10,.0f}{spread:>20}{middle / bare:>14.2f}")
    return "\n".join(lines)
