"""`/yamux/1.0.0`: many streams over one connection. (specs/yamux.md)

- `session.Session` is one side of a connection: bytes in, events out; messages out.
- `stream.Stream` is one stream of it: read, write, close, reset.
- `budget.Budget` bounds the memory that all connections take together.
"""
