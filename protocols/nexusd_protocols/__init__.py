"""The wire of the nexus mesh, pure: bytes in, events out.

Nothing here knows a clock, a socket, a thread, a database or a source of randomness: times, ids and keys are
arguments. `protocols/README.md` maps each protocol id to its spec, its module and its vectors.
"""
