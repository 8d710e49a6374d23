"""web3 costs a second and sixty megabytes: who is paid nothing never imports it."""

from __future__ import annotations

import subprocess
import sys


def test_web3_comes_with_the_first_call_only():
    code = (
        "import sys, nexusd.chain.evm, nexusd.chain.settlement\n"
        "nexusd.chain.evm.EvmChain(1, 'http://127.0.0.1:1', [])\n"
        "print(sorted({'web3', 'eth_account', 'requests', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
