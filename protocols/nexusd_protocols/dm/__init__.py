"""`/nexus/dm/1.1.0`: one direct message on one stream. (specs/dm.md)"""
