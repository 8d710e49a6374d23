"""Bitswap 1.2.0: blocks by their CIDs, from whoever has them. (specs/bitswap.md)

- `message` is what travels, and the machine for a stream of it.
- `server.Server` answers what others want of us; `ledger.Ledger` is what one of them wants.
- `client.Client` asks for what we want; `session.Session` chooses whom to ask, `told.Told` is what one peer was told.
- `events` are the inputs and outputs of both.
"""
