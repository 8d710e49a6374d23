"""Getting paid: what the ledger says is due is sent to the chain, until the chain says what became of it.

    ledger + survey --> Queue (pure) --> steps --> ledger, then the node

- A transaction is signed, committed to the ledger, and then sent; the same bytes are sent again until its number (the
  account's nonce) is used up, by it or by another.
- An authorisation counts once on the chain. So whatever is sent twice, by us, by the payer, or by a second daemon with
  the same account, is paid once; the worst is wasted gas.
- What became of a payment is said by the token's logs, and by nothing else: a reverted transaction may mean that
  somebody else's was first, and that we are paid.
"""

from nexusd.chain.settlement.policy import Policy
from nexusd.chain.settlement.queue import Queue
from nexusd.chain.settlement.settlement import Settlement, Status

__all__ = ["Policy", "Queue", "Settlement", "Status"]
