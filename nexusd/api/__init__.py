"""The daemon's doors. `socket` is the one that is always open: JSON-RPC 2.0 on a Unix socket (specs/rpc.md).

socket (accept, who is it) -> connection (reader, writer) -> dispatch -> services
"""
