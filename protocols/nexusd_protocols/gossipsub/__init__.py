"""GossipSub 1.0, 1.1 and 1.2: who gets which message of a topic, and which peers are trusted. (specs/gossipsub.md)

- `router.GossipSub` is the machine: inputs and the time in, outputs out.
- `inputs`, `outputs` and `rpc` are what goes in and comes out; `codec` turns an RPC into protobuf bytes and back.
- `params` has every number, with its reason.
"""
