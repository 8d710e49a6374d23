"""How two hosts come to hold the same history of a room (specs/chat-sync.md).

index      what the algorithm asks of a set of messages, and a set in memory
reconcile  range-based set reconciliation: which messages one of the two lacks
ranges     what the two say about ranges of their sets
frames     what travels on `/nexus/chat-sync/2.0.0`
codec      how it is written and read
stream     both ends of it
published  both ends of `/nexus/chat-sync/1.1.0`
"""
