"""Requests by which content is put."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nexusd.agents import Agents
from nexusd.services.content.keeping import UPLOAD, USER, Keeping
from nexusd.services.content.ports import OpenFile
from nexusd.services.content.shelf import Shelf
from nexusd.services.content.uploads import Upload, Uploads
from nexusd.services.content.views import parse_cid
from nexusd_protocols import limits
from nexusd_protocols.content import unixfs
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.identity import AgentId
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal


class _Wanted(Protocol):
    """How something that is put is to be kept."""

    @property
    def name(self) -> str: ...

    @property
    def retention(self) -> RetentionClass: ...

    @property
    def staged(self) -> bool: ...


class Putting:
    """`kept` is called with what is to be announced."""

    def __init__(
        self, agents: Agents, shelf: Shelf, uploads: Uploads, keeping: Keeping, kept: Callable[[Cid], None]
    ) -> None:
        self._agents = agents
        self._shelf = shelf
        self._uploads = uploads
        self._keeping = keeping
        self._kept = kept

    async def begin(self, params: schema.ContentBeginParams) -> schema.ContentUpload | Refusal:
        """Begin a put, or go on with one."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        done = await self._uploads.finished(agent.id, params.key)
        if done is not None:
            await self._keep(agent.id, Cid.parse(done.cid), params, done.total_size)
            return schema.ContentUpload(upload="", written=done.size, done=done)
        upload = self._uploads.begin(
            agent.id,
            key=params.key,
            name=params.name,
            retention=params.retention,
            staged=params.staged,
            json=params.format == "json",
        )
        if isinstance(upload, Refusal):
            return upload
        return schema.ContentUpload(upload=upload.id, written=upload.written)

    async def write(self, params: schema.ContentWriteParams) -> schema.ContentWritten | Refusal:
        """Take the next bytes."""
        upload = self._found(params.agent, params.upload)
        if isinstance(upload, Refusal):
            return upload
        if len(params.data) > limits.CONTENT_PIECE_BYTES:
            return Refusal("too_large", f"A piece has at most {limits.CONTENT_PIECE_BYTES} bytes")
        written = await self._uploads.write(upload, params.offset, params.data)
        return written if isinstance(written, Refusal) else schema.ContentWritten(written=written)

    async def write_from(
        self, params: schema.ContentWriteFromParams, file: OpenFile
    ) -> schema.ContentWritten | Refusal:
        """Take the next bytes out of a file, as far as it goes."""
        upload = self._found(params.agent, params.upload)
        if isinstance(upload, Refusal):
            return upload
        at, end = params.offset, params.offset + params.length
        while at < end and (piece := await file.read_at(at, min(end - at, limits.CONTENT_PIECE_BYTES))):
            written = await self._uploads.write(upload, at, piece)
            if isinstance(written, Refusal):
                return written
            at = written
        return schema.ContentWritten(written=upload.written)

    async def finish(self, params: schema.ContentUploadParams) -> schema.ContentPut | Refusal:
        """End a put: everything is on disk, and kept, when its CID is given out."""
        upload = self._found(params.agent, params.upload)
        if isinstance(upload, Refusal):
            return upload
        ended = await self._uploads.finish(upload)
        if isinstance(ended, Refusal):
            self._uploads.forget(upload)
            return ended
        cid, size, total = ended
        put = schema.ContentPut(cid=str(cid), size=size, total_size=total)
        await self._keep(upload.agent, cid, upload, total)
        self._uploads.forget(upload, put)
        return put

    async def abort(self, params: schema.ContentUploadParams) -> schema.Done | Refusal:
        """Give a put up. What was stored of it goes with a later collection."""
        upload = self._found(params.agent, params.upload)
        if isinstance(upload, Refusal):
            return upload
        self._uploads.forget(upload)
        return schema.Done()

    async def directory(self, params: schema.ContentDirectoryParams) -> schema.ContentPut | Refusal:
        """Make a directory of what is here."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        entries: list[unixfs.Entry] = []
        for entry in params.entries:
            cid = parse_cid(entry.cid)
            if isinstance(cid, Refusal):
                return cid
            root = await self._shelf.blocks.get(cid)
            if root is None:
                return Refusal("content_not_found", f"{cid} is not here: put or fetch it first")
            entries.append(unixfs.Entry(entry.name, cid, unixfs.total_size(cid, root.data)))
        try:
            block = unixfs.directory(entries)
        except ValueError as error:
            return Refusal("invalid_name", str(error))
        total = unixfs.total_size(block.cid, block.data)
        await self._shelf.put([block])
        await self._keep(agent.id, block.cid, params, total)
        for made in entries:
            await self._shelf.blocks.unpin(agent.id, UPLOAD, made.cid)
        return schema.ContentPut(cid=str(block.cid), size=len(block.data), total_size=total)

    def _found(self, named: str | None, upload: str) -> Upload | Refusal:
        agent = self._agents.find(named)
        return agent if isinstance(agent, Refusal) else self._uploads.find(agent.id, upload)

    async def _keep(self, agent: AgentId, cid: Cid, wanted: _Wanted, total: int) -> None:
        if wanted.staged:
            await self._keeping.pin(agent, UPLOAD, cid, "cache", name=wanted.name, size=total)
            return
        await self._keeping.pin(agent, USER, cid, wanted.retention, name=wanted.name, size=total)
        self._kept(cid)
