"""The table from a method's name to what answers it.

Most methods are one call of a service. Four of them belong to the order of their connection (input, credit, cancel,
output): they are carried out as they are read, before whatever comes behind them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nexusd.api.files import HandedFile, HandedFileError
from nexusd.api.ports import Services
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.openrpc import openrpc_document

Answer = schema.Result | Refusal


@dataclass(frozen=True, slots=True)
class Begun:
    """The request is answered with `result`, and then `follow` is carried out for as long as the connection lives."""

    result: schema.Result
    follow: Callable[[], Awaitable[None]]


class Session(Protocol):
    """What methods see of the connection that they came by."""

    async def subscribe(self, params: schema.SubscribeParams) -> Begun | Refusal: ...

    async def unsubscribe(self, params: schema.UnsubscribeParams) -> Answer: ...

    async def register(self, params: schema.CapabilityRegisterParams) -> Answer: ...

    async def unregister(self, params: schema.CapabilityNameParams) -> Answer: ...

    async def invoke(self, params: schema.InvokeParams) -> Begun | Refusal: ...

    def take_input(self, params: schema.InvokeInputParams, size: int) -> Answer: ...

    def grant(self, params: schema.InvokeCreditParams, size: int) -> Answer: ...

    def cancel(self, params: schema.InvokeCancelParams, size: int) -> Answer: ...

    def take_event(self, params: schema.CallEventParams, size: int) -> Answer: ...


Handler = Callable[[Any, Session], Awaitable[Answer | Begun]]
FileHandler = Callable[[Any, HandedFile], Awaitable[Answer]]
Inline = Callable[[Session, Any, int], Answer]

INLINE: dict[str, Inline] = {
    "invoke.input": lambda session, params, size: session.take_input(params, size),
    "invoke.credit": lambda session, params, size: session.grant(params, size),
    "invoke.cancel": lambda session, params, size: session.cancel(params, size),
    "call.event": lambda session, params, size: session.take_event(params, size),
}
"""Carried out by the reader; `size` is what a piece counts against credit."""


def file_handlers(services: Services) -> dict[str, FileHandler]:
    """What answers the methods with which an open file comes."""
    return {
        "content.writeFrom": services.content.write_from,
        "content.readInto": services.content.read_into,
    }


def with_file(handler: FileHandler, use: schema.FileUse, file: HandedFile | Refusal) -> Handler:
    """What answers one request, with the file that came with it: closed when the request is over."""

    async def answer(params: Any, _: Session) -> Answer:
        if isinstance(file, Refusal):
            return file
        try:
            async with file:
                await file.check(use)
                return await handler(params, file)
        except HandedFileError as error:
            return Refusal("bad_file", str(error))

    return answer


def handlers(services: Services) -> dict[str, Handler]:
    """What answers each of the other methods of the schema that is not inline."""

    async def discover(_: schema.Empty, __: Session) -> Answer:
        return openrpc_document()

    return {
        "node.status": lambda params, session: services.node.status(),
        "node.subscribe": lambda params, session: session.subscribe(params),
        "node.unsubscribe": lambda params, session: session.unsubscribe(params),
        "node.metrics": lambda params, session: services.metrics.expose(),
        "node.shutdown": lambda params, session: services.node.shutdown(),
        "peers.list": lambda params, session: services.peers.list(params),
        "peers.connect": lambda params, session: services.peers.connect(params),
        "peers.block": lambda params, session: services.peers.block(params),
        "peers.unblock": lambda params, session: services.peers.unblock(params),
        "peers.ban": lambda params, session: services.bans.ban(params),
        "peers.unban": lambda params, session: services.bans.unban(params),
        "profile.get": lambda params, session: services.profile.get(params),
        "profile.set": lambda params, session: services.profile.set(params),
        "room.create": lambda params, session: services.rooms.create(params),
        "room.join": lambda params, session: services.rooms.join(params),
        "room.leave": lambda params, session: services.rooms.leave(params),
        "room.list": lambda params, session: services.rooms.list(params),
        "room.send": lambda params, session: services.rooms.send(params),
        "room.edit": lambda params, session: services.rooms.edit(params),
        "room.retract": lambda params, session: services.rooms.retract(params),
        "room.history": lambda params, session: services.rooms.history(params),
        "room.search": lambda params, session: services.rooms.search(params),
        "room.versions": lambda params, session: services.rooms.versions(params),
        "room.sync": lambda params, session: services.rooms.sync(params),
        "room.verify": lambda params, session: services.rooms.verify(params),
        "room.mirror": lambda params, session: services.rooms.mirror(params),
        "room.members": lambda params, session: services.rooms.members(params),
        "room.stats": lambda params, session: services.rooms.stats(params),
        "dm.send": lambda params, session: services.inbox.send(params),
        "dm.list": lambda params, session: services.inbox.list(params),
        "capability.list": lambda params, session: services.capabilities.list(params),
        "capability.register": lambda params, session: session.register(params),
        "capability.serve": lambda params, session: services.capabilities.serve(params),
        "capability.unregister": lambda params, session: session.unregister(params),
        "capability.invoke": lambda params, session: session.invoke(params),
        "find.agent": lambda params, session: services.directory.find_agent(params),
        "find.room": lambda params, session: services.directory.find_room(params),
        "find.capability": lambda params, session: services.directory.find_capability(params),
        "content.begin": lambda params, session: services.content.begin(params),
        "content.write": lambda params, session: services.content.write(params),
        "content.finish": lambda params, session: services.content.finish(params),
        "content.abort": lambda params, session: services.content.abort(params),
        "content.directory": lambda params, session: services.content.directory(params),
        "content.read": lambda params, session: services.content.read(params),
        "content.fetch": lambda params, session: services.content.fetch(params),
        "content.stat": lambda params, session: services.content.stat(params),
        "content.list": lambda params, session: services.content.list(params),
        "content.pin": lambda params, session: services.content.pin(params),
        "content.unpin": lambda params, session: services.content.unpin(params),
        "content.remove": lambda params, session: services.content.remove(params),
        "content.collect": lambda params, session: services.content.collect(params),
        "storage.show": lambda params, session: services.content.show(),
        "wallet.new": lambda params, session: services.wallet.new(params),
        "wallet.import": lambda params, session: services.wallet.import_(params),
        "wallet.unlock": lambda params, session: services.wallet.unlock(params),
        "wallet.show": lambda params, session: services.wallet.show(),
        "wallet.backup": lambda params, session: services.wallet.backup(),
        "wallet.balance": lambda params, session: services.payments.balance(),
        "pay.policy": lambda params, session: services.payments.policy(params),
        "pay.setPolicy": lambda params, session: services.payments.set_policy(params),
        "pay.stop": lambda params, session: services.payments.stop(params),
        "pay.approvals": lambda params, session: services.payments.approvals(params),
        "pay.approve": lambda params, session: services.payments.approve(params),
        "pay.reject": lambda params, session: services.payments.reject(params),
        "pay.history": lambda params, session: services.payments.history(params),
        "pay.explain": lambda params, session: services.payments.explain(params),
        "pay.verify": lambda params, session: services.payments.verify(params),
        "pay.settlements": lambda params, session: services.payments.settlements(params),
        "pay.trust": lambda params, session: services.payments.trust(params),
        "pay.clear": lambda params, session: services.payments.clear(params),
        "pay.usage": lambda params, session: services.payments.usage(params),
        "config.show": lambda params, session: services.node.config(),
        "rpc.discover": discover,
    }
