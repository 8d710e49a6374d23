"""Capabilities: what the agents here can do, and calling what others can.

registry  names, providers, who waits         serving  calls that this node answers
calls     calls that this node makes          command, openai  providers that the daemon runs itself
inquiry   the handshake: what is offered now
service   the requests of the doors           ports    the seams between a door and a capability
"""

from nexusd.services.capabilities.service import Capabilities

__all__ = ["Capabilities"]
