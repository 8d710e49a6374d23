"""`/nexus/kad/1.1.0`: records and providers, kept by the peers closest to a key. (specs/kad.md)

- `message` is the wire: bytes in, messages out, and back.
- `lookup.Lookup` finds the peers closest to a key; `routing_table.RoutingTable` knows where to begin.
- `server.Server` answers others, out of `records.Records` and `providers.Providers`.
- `renewals.Renewals` says when what is ours must be told again.
"""
