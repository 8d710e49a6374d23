"""Who acts in the tests of the store: fixed keys, so that a wrong id is visible at once."""

from nexusd_protocols.identity import AgentId, PeerId, Signer


def _peer(number: int) -> PeerId:
    return Signer(bytes([number]) * 32).peer_id


BOB = _peer(2)
CAROL = _peer(3)
MALLORY = _peer(66)
ALICE = AgentId(_peer(1))
ALICES_SECOND = AgentId(_peer(11))
