"""Money: what this node's agents are paid and what they pay.

wallet    the key                       purse   paying for a call       policies  what may be paid
till      prices of what is served      sale    one paid call           service   what doors ask for
"""

from nexusd.services.payments.ports import Chains as Chains
from nexusd.services.payments.service import Payments as Payments
from nexusd.services.payments.trust import Allowance as Allowance
from nexusd.services.payments.trust import Trust as Trust
