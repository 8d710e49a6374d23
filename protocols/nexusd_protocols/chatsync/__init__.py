"""How two hosts come to hold the same history of a room (specs/chat-sync.md).

index      what the algorithm asks of a set of messages, and a set in memory
reconcile  range-based set reconciliation: which messages one of the two lacks
frames     what travels on `/nexus/chat-sync/2.0.0`
stream     both ends of it
published  both ends of `/nexus/chat-sync/1.1.0`
"""
