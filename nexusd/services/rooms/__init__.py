"""Rooms: joining, talking, listening, who is there.

post:    build, sign -> commit -> mesh -> event feed
receive: mesh -> verdict -> queue -> commit (many at once) -> event feed
"""

from nexusd.services.rooms.service import Rooms

__all__ = ["Rooms"]
