"""Who may be here and what they may reach: the rules that the host, the rooms and the capabilities ask, all in one.

    blocks (a person's word) | deny lists | bans (for a time) | allow lists  ->  Policy

Pure: it decides; cutting off, storing and telling are for those that ask it.
"""

from nexusd.services.policy.bans import BanTable
from nexusd.services.policy.lists import TrustList, TrustLists
from nexusd.services.policy.policy import NO_REASON, Policy

__all__ = ["NO_REASON", "BanTable", "Policy", "TrustList", "TrustLists"]
