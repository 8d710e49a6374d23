"""Signed pointers in the DHT: who is who, who is in a room, who can do what, and the documents behind them.
(specs/pointer.md)

    keys       /nexus/room/<room>/<issuer> <-> Key(kind, issuer, name)
    envelope   bytes <-> Pointer: signed, numbered, for a time
    documents  the JSON that a pointer's CID names
"""
