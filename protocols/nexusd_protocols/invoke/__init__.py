"""`/nexus/invoke/1.1.0`: one agent calls a capability of another. (specs/invoke.md)"""
