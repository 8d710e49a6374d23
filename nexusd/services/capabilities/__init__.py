"""Capabilities: what the agents here can do, and calling what others can.

service    what the doors ask for, and the daemon
offering   taken on, priced, given up            registry  names, providers, who waits
answering  which calls are answered, by what     calling   which calls are made, and how
incoming   one call that is answered             outgoing  one call that is made
paid       the same, for money                   buying    what it tells whoever pays for it
record     what is written down of both          inquiry   the handshake: what is offered now

`command` and `openai` are providers that the daemon runs itself, `backlog` is input that a provider has not taken yet,
`free` the free tier, `ports` the seams between a door and a capability.
"""

from nexusd.services.capabilities.service import Capabilities

__all__ = ["Capabilities"]
