"""The directory: publishing what this node is and has as signed pointers, and finding others'. (specs/pointer.md)

    sources -> offers -> publisher -> sequence (on disk), keep (the document), DHT (the pointer, the meeting place)
    request -> finder -> DHT (who, and their pointers) -> fetch (the document) -> handshake (is it available?)

ports     what the composition root hands over          offers    what is to be published now
publisher brings what is told in line with it           finder    pointers and documents of others
shopping  capabilities: who takes calls, and who is best
service   the requests of the doors
"""

from nexusd.services.directory.ports import CapabilityFacts, RoomFacts, Sources, StorageFacts
from nexusd.services.directory.service import Directory

__all__ = ["CapabilityFacts", "Directory", "RoomFacts", "Sources", "StorageFacts"]
