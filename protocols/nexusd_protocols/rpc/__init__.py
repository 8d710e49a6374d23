"""The local door: JSON-RPC 2.0 over a Unix socket (specs/rpc.md).

`schema` lists every method with its parameters and result, `codes` every error; `connection` is the machine.
"""
