"""One table of error codes; each door renders it its own way (design: JSON-RPC here, exit codes on the command line).

`code` is the stable word that programs test, `number` the JSON-RPC integer, `exit_code` what the command line ends
with (1 refused or wrong use, 2 cannot reach), `try_` what a person can do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec


class ErrorCode(msgspec.Struct, frozen=True):
    """One row of the table."""

    code: str
    number: int
    message: str
    try_: str
    exit_code: int = 1


_ROWS: Final = (
    # JSON-RPC 2.0 §5.1
    ErrorCode("parse_error", -32700, "The line is not JSON", "send one JSON object a line"),
    ErrorCode("invalid_request", -32600, "Not a JSON-RPC 2.0 request", "see `nexusd openrpc`"),
    ErrorCode(
        "method_not_found",
        -32601,
        "No such method",
        "list the methods with `nexus rpc rpc.discover`",
    ),
    ErrorCode(
        "invalid_params",
        -32602,
        "The parameters do not fit the method",
        "see `--help` of the command, or `nexusd openrpc`",
    ),
    ErrorCode("internal_error", -32603, "The daemon failed", "see its log, and report what it says"),
    # refusals
    ErrorCode("refused", -32000, "Refused", "see the message"),
    ErrorCode("invalid_name", -32001, "Not a valid name", "see the message"),
    ErrorCode("invalid_peer", -32002, "Not a peer id", "list the peers with `nexus peers`"),
    ErrorCode(
        "invalid_address",
        -32003,
        "Not a multiaddr",
        "it looks like /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…",
    ),
    ErrorCode("ambiguous_peer", -32004, "Several peers fit", "give more of the peer id"),
    ErrorCode("unknown_peer", -32005, "No such peer is known", "list the peers with `nexus peers`", 2),
    ErrorCode("peer_blocked", -32006, "The peer is blocked", "unblock it with `nexus peers unblock`"),
    ErrorCode("not_joined", -32007, "Not a member of the room", "join it with `nexus room join`"),
    ErrorCode("too_large", -32008, "Too large", "send less, or in parts"),
    ErrorCode(
        "capability_taken",
        -32009,
        "Another provider on this daemon serves this name",
        "choose another name",
    ),
    ErrorCode(
        "capability_unknown",
        -32010,
        "No such capability",
        "list them with `nexus capability list`, another's with `nexus capability list PEER`",
    ),
    ErrorCode(
        "invocation_unknown",
        -32011,
        "No such invocation",
        "it ended, or belongs to another connection",
    ),
    ErrorCode("out_of_credit", -32012, "More bytes than credit was given for", "wait for credit"),
    ErrorCode("bad_cursor", -32013, "Not a cursor of this daemon", "use a cursor that it gave you"),
    ErrorCode("busy", -32014, "Too much is under way", "try again in a moment"),
    ErrorCode(
        "shutting_down",
        -32015,
        "The daemon is shutting down",
        "start it again with `nexusd run --detach`",
        2,
    ),
    ErrorCode(
        "invalid_config",
        -32016,
        "The configuration is wrong",
        "see the message, and `nexus config show --origin`",
    ),
    ErrorCode(
        "peer_banned",
        -32017,
        "The peer is banned for a time",
        "wait until then, or end it with `nexus peers unban`",
    ),
    ErrorCode(
        "not_allowed",
        -32018,
        "The trust lists of this daemon refuse it",
        "change the list: `nexus config show --origin` says where it is",
    ),
    ErrorCode(
        "message_unknown",
        -32019,
        "No such message in the room",
        "list them with `nexus room history`; `nexus room sync` asks the members",
    ),
    ErrorCode("not_author", -32020, "Another agent said that", "only its author can change it"),
    ErrorCode("invalid_cid", -32021, "Not a CID that is read", "it looks like bafybei… or bafkrei…, or Qm…"),
    ErrorCode("bad_content", -32022, "The content is not what is needed", "see the message, and `nexus content stat`"),
    ErrorCode("upload_unknown", -32023, "No such put is under way", "begin again: what was stored is not sent twice"),
    ErrorCode("bad_offset", -32024, "Those are not the next bytes", "go on where the put is"),
    ErrorCode("not_pinned", -32025, "It is not kept by this agent", "list what is with `nexus content ls`"),
    ErrorCode(
        "key_material",
        -32026,
        "It holds what looks like key material",
        "leave it out; or send it --anyway, where the policy lets you",
    ),
    ErrorCode(
        "bad_file",
        -32027,
        "The file that came with the request cannot be used",
        "see the message; or send the bytes themselves",
    ),
    # cannot reach
    ErrorCode(
        "content_not_found",
        -32036,
        "Nobody who was asked has it",
        "connect to a peer that has it: `nexus connect`; or try again later",
        2,
    ),
    ErrorCode("unreachable", -32030, "The peer cannot be reached", "see `nexus peers`; is it running?", 2),
    ErrorCode(
        "unsupported",
        -32031,
        "The peer does not speak this protocol",
        "ask its owner to update it",
        2,
    ),
    ErrorCode("connection_lost", -32032, "The connection broke", "try again", 2),
    ErrorCode("timeout", -32033, "No answer in time", "try again, or allow more time", 2),
    ErrorCode(
        "daemon_unreachable",
        -32034,
        "No daemon is running",
        "start one with `nexusd run --detach`",
        2,
    ),
    ErrorCode("ambiguous_daemon", -32035, "Several daemons are running", "say which with --name"),
    # what a remote capability answered
    ErrorCode("invoke_failed", -32040, "The capability failed", "see the message"),
    ErrorCode("invoke_refused", -32041, "The provider refused the call", "see the message"),
    ErrorCode("invoke_cancelled", -32042, "The call was cancelled", "call again"),
    ErrorCode(
        "payment_required",
        -32043,
        "The capability asks for payment",
        "say what it may cost: `nexus invoke --max-price`",
    ),
    ErrorCode("payment_invalid", -32044, "The provider did not take the payment", "see `nexus pay history`"),
    ErrorCode("payment_refused", -32045, "The payment is not made", "see the message"),
    ErrorCode("payment_rejected", -32046, "A person rejected the payment", "ask whoever decides"),
    ErrorCode(
        "settlement_pending",
        -32047,
        "The payment was sent to the chain, and its outcome is not known yet",
        "see `nexus pay explain`; do not pay again",
    ),
    ErrorCode("payment_unknown", -32048, "No such payment", "list them with `nexus pay history`"),
    ErrorCode(
        "price_reached",
        -32049,
        "The call has cost what it may",
        "what came was paid for; allow more with a higher --max-price",
    ),
    ErrorCode("ambiguous_payment", -32059, "Several payments fit", "give more of the id: `nexus pay history` shows it"),
    # the wallet
    ErrorCode("no_wallet", -32060, "There is no wallet", "make one with `nexus wallet new`"),
    ErrorCode("wallet_exists", -32061, "There is a wallet already", "see `nexus wallet show`"),
    ErrorCode(
        "wallet_locked",
        -32062,
        "The wallet is locked",
        "open it with `nexus wallet unlock`",
    ),
    ErrorCode("wrong_password", -32063, "That is not the password", "try again"),
    # storage
    ErrorCode(
        "storage_full",
        -32050,
        "The disk is full",
        "make room; nothing that was acknowledged is lost",
    ),
    ErrorCode("quota_exceeded", -32051, "A storage budget is full", "see `nexus storage`"),
)

CODES: Final = {row.code: row for row in _ROWS}
BY_NUMBER: Final = {row.number: row for row in _ROWS}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An expected "no", as a value: services return it, each door renders it. `detail` replaces the row's message for
    people, `data` goes along as JSON (such as the peers that an ambiguous name fits)."""

    code: str
    detail: str = ""
    data: object = None

    @property
    def row(self) -> ErrorCode:
        """The row of the table that this refusal is an instance of."""
        return CODES[self.code]

    @property
    def message(self) -> str:
        """What happened, in a sentence for people."""
        return self.detail or self.row.message
