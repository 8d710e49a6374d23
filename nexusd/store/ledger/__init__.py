"""Money: what is owed to the agents here, what they spend, and what was used.

ledger      charges of those who call us, from reservation to settlement      settlements  the transactions that settle
purchases   payments that agents here make, and the budgets that they come from
standings   what a payer is known by: what it settled, and what it took back
metering    sums of what was used, per peer and capability, both ways
"""

from nexusd.store.ledger.ledger import Ledger as Ledger
from nexusd.store.ledger.metering import Metering as Metering
from nexusd.store.ledger.purchases import Purchases as Purchases
from nexusd.store.ledger.standings import Standings as Standings
