"""Circuit relay v2, the client's side: `/libp2p/circuit/relay/0.2.0/hop` and `/stop`. (specs/relay.md)

- `hop.Hop` asks a relay: for a place, or for a peer that has one.
- `stop.Stop` answers a relay through which somebody comes.
"""
