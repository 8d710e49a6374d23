"""Finding peers: one module a source, and the cascade that runs them together.

sources (static, cache, mdns) -> cascade -> candidates -> whoever dials
"""
