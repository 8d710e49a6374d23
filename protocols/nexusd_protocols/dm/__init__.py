"""Direct messages: `/nexus/dm/1.1.0`, one on a stream, and `/nexus/dm/1.2.0`, many on one. (specs/dm.md)"""
