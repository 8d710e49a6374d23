"""`/nexus/handshake/1.1.0`: ask a provider live what it offers. (specs/handshake.md)"""
