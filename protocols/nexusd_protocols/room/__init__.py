"""Rooms: public broadcast over GossipSub (specs/room.md).

topics    the names of topics, made and read
message   JSON messages, built and judged
payloads  what they carry
presence  who is in a room
"""
