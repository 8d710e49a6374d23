"""Chains of Ethereum's kind: whether a payment would go through, and getting it settled.

    check:   services -> EvmChain -> one batch -> Rpc -> a worker thread -> JSON-RPC node
    settle:  ledger (due) -> Settlement -> Queue (pure) -> ledger (submitted) -> node -> ledger (settled | lost)

One `EvmChain` for each network that has a node. web3 is imported on first use. Whatever a node does not
say clearly and in time counts as "no".
"""
