"""Every bound on input from outside, each with its reason. Machines take them as parameters; these are the defaults."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- JSON ---------------------------------------------------------------------------------------------------------
JSON_DEPTH: Final = 32
"""Nesting of objects and arrays. Nothing on our wire nests deeper than 8; agents' own payloads rarely than 20."""

# --- names (validators of the published network, facts of open-agents-nexus) ----------------------------------------
ROOM_ID_CHARS: Final = 64
CAPABILITY_NAME_CHARS: Final = 64
DISPLAY_NAME_CHARS: Final = 64
DESCRIPTION_CHARS: Final = 512
MESSAGE_ID_CHARS: Final = 64
SENDER_CHARS: Final = 128
REFERENCE_CHARS: Final = 128
REFERENCES: Final = 8
PROFILE_CAPABILITIES: Final = 32
"""What the published validators accept: more would be refused by the peers that run them."""

# --- rooms --------------------------------------------------------------------------------------------------------
ROOM_MESSAGE_BYTES: Final = 256 * KIB
"""One room message as published. Larger content belongs behind a CID, not in everybody's mesh."""
TOPIC_BYTES: Final = 256
"""A topic's name. Ours have at most 16 + 64 characters; foreign discovery topics stay below 64."""
CLOCK_AHEAD_MS: Final = 320_000
"""How far ahead of our clock a sender's timestamp may be: 300 s of clock error and 20 s on the way."""
PRESENCE_AGE_MS: Final = 600_000
"""An older presence message says nothing about now, and anybody can replay one. Wide, because clocks differ."""
PRESENCE_INTERVAL_MS: Final = 60_000
"""The published heartbeat."""
PRESENCE_STALE_MS: Final = 120_000
"""The published time after which a silent member counts as offline: two heartbeats."""
ROOM_MEMBERS: Final = 4096
"""Members remembered in one room, the stalest forgotten first: about 2 MiB at most, and more than a mesh holds."""

SEARCH_CHARS: Final = 256
"""Words searched for in a room. Nobody types more, and each costs a walk through its messages."""

# --- streams ------------------------------------------------------------------------------------------------------
CONTROL_LINE_BYTES: Final = 64 * KIB
"""A line that carries no content: open, accept, done, error, cancel, handshake, acknowledgement."""

DM_LINE_BYTES: Final = 512 * KIB
"""A direct message line: 256 KiB of content, twice that when JSON escapes all of it."""

DM_CONTENT_BYTES: Final = 256 * KIB
"""As a room message: what is larger is a file, not a message."""

DM_UNACKNOWLEDGED: Final = 32
"""Direct messages under way on one stream. A ratchet keeps the keys of about 40 skipped messages; and what waits here
is what is sent again if the stream ends."""

INVOKE_LINE_BYTES: Final = 2 * MIB
"""An input chunk or output event line: the published maxOutputBytes is 1 MiB and a unary provider sends it in one
event; escapes may double it."""

INVOKE_MAX_DURATION_MS: Final = 30_000
"""The published default for invoke.open."""
INVOKE_MAX_INPUT_BYTES: Final = 64 * KIB
"""The published default for invoke.open."""
INVOKE_MAX_OUTPUT_BYTES: Final = 1 * MIB
"""The published default for invoke.open."""

INVOKE_DURATION_CEILING_MS: Final = 24 * 3600 * 1000
INVOKE_INPUT_CEILING_BYTES: Final = 64 * MIB
INVOKE_OUTPUT_CEILING_BYTES: Final = 4096 * MIB
"""What an opener may state at most; what a provider really grants is its own configuration."""

INVOKE_WINDOW_BYTES: Final = 256 * KIB
"""Bytes given to the transport and not yet taken by it, above which a machine gives no more: enough to keep a fast
link busy, little enough that a thousand slow readers cost 256 MiB at worst."""

UNKNOWN_FRAMES: Final = 256
"""Frames of types that we do not know, ignored on one stream for the sake of later versions."""

REQUEST_ID_CHARS: Final = 64
"""Published peers use UUIDs (36)."""

FRAME_WORD_CHARS: Final = 64
"""A short word in a frame: an error code, the name of an event, a media type."""

ERROR_MESSAGE_CHARS: Final = 4096
"""Message of an invoke.error, which may quote the end of a command's stderr. Longer ones are cut, not refused."""

REASON_CHARS: Final = 256
"""Reason of an invoke.cancel. Longer ones are cut, not refused."""

HANDSHAKE_ROWS: Final = 32
"""Capabilities in one handshake.ack: the published validator allows a profile 32."""

HANDSHAKE_PRICES: Final = 4
"""Prices of one of them: 32 times four are 15 KiB of a line of 64."""

HANDSHAKE_ROLES: Final = 16
"""Words for what a node does. Three are in use."""

LINES_PER_READ: Final = 4096
"""Lines handed out of one buffer at a time, so that a megabyte of two-byte lines does not become a list of them."""

# --- JSON-RPC socket ------------------------------------------------------------------------------------------------
RPC_LINE_BYTES: Final = 4 * MIB
"""One request or reply. The largest legal one is an invoke chunk with its envelope."""
RPC_BATCH: Final = 64
RPC_BATCH_BYTES: Final = 256 * KIB
"""One batch. It is for many small requests; and counting the members of a line must not cost more than reading it."""
RPC_ID_CHARS: Final = 128
"""A request's id, if it is text. It is kept until the request is answered, and repeated in the answer."""
RPC_PENDING: Final = 64
"""Requests being answered at once on one connection; reading pauses beyond it."""
RPC_CREDIT_BYTES: Final = 256 * KIB
"""First byte credit of each direction of an invocation on the socket."""
RPC_PIECE_BYTES: Final = 256 * KIB
"""One piece of a caller's input. Larger input goes in several, so that credit means something."""
RPC_OUTGOING_BYTES: Final = 512 * KIB
"""What waits to be written to one connection; whoever wants to send more waits. The kernel holds about 200 KiB more."""
RPC_CONNECTIONS: Final = 256
"""Connections to one daemon. A client holds one for each call and event stream that is under way."""
RPC_CALLS: Final = 256
"""Calls under way on one connection, in each direction."""
RPC_SUBSCRIPTIONS: Final = 32
"""Subscriptions on one connection. One tells everything; more are for a program with several parts."""
RPC_FILES: Final = 4
"""Open files that requests of one connection have in use at once."""
RPC_STALL_SECONDS: Final = 30.0
"""A subscriber whose connection takes no byte for so long is cut; it continues from its cursor later."""
PAGE_ROWS: Final = 500
"""Rows in one page of a listing."""
BAN_MS: Final = 366 * 86_400_000
"""The longest ban that a person may impose: a year. Who is to stay out for good is blocked."""

# --- multistream-select -----------------------------------------------------------------------------------------------
MULTISTREAM_MESSAGE_BYTES: Final = 1024
"""One message, as js-libp2p bounds it. Protocol ids in use stay below 64."""
MULTISTREAM_PROPOSALS: Final = 64
"""Messages behind the header of one negotiation. Whoever knows no better tries a handful."""

# --- Kademlia -------------------------------------------------------------------------------------------------------
KAD_MESSAGE_BYTES: Final = 256 * KIB
"""One message: a record and 40 peers with 16 addresses each come to 128 KiB."""
KAD_RECORD_BYTES: Final = 64 * KIB
"""A record points to content; it is not the content."""
KAD_KEY_BYTES: Final = 256
"""A record's key: a namespace and a name. A multihash has 66 bytes at most."""
KAD_PEERS: Final = 40
"""Peers read out of one list of a message. Known implementations send 20 at most; their providers may be more."""
KAD_ADDRESSES: Final = 16
"""Addresses of a peer, as everywhere here. A host has a few for each of its interfaces."""
KAD_ADDRESS_BYTES: Final = 256
"""One binary multiaddr. A relayed one with two peer ids and a certificate hash has about 160."""
KAD_RECORDS: Final = 4096
KAD_RECORDS_BYTES: Final = 32 * MIB
"""Records kept for others, in number and size: what a small host can spare for strangers."""
KAD_PEER_RECORDS: Final = 256
"""Records kept for one peer: a sixteenth of all."""
KAD_PROVIDERS: Final = 16_384
"""Provider entries kept for others, about 4 MiB."""
KAD_PEER_PROVIDERS: Final = 1024
"""Provider entries of one peer: what it has to offer, and a sixteenth of all."""
KAD_KEY_PROVIDERS: Final = 40
"""Providers of one key. More than anybody asks for; the oldest makes room."""
KAD_SUBNET_PROVIDERS: Final = 4
"""Providers of one key in one /24 or /48, so that one network cannot hide the others."""
KAD_OWN: Final = 1024
"""Records and announcements of this node's own, each: every one costs 20 messages a day."""

# --- content ----------------------------------------------------------------------------------------------------------
BLOCK_BYTES: Final = 2 * MIB
"""One block: what bitswap peers accept. Ours have 256 KiB, directories and the objects of a room up to 1 MiB."""
CONTENT_SAID_BYTES: Final = 1 << 46
"""What is believed of how much something takes, which its first block says: 64 TiB. 100,000 of them fit into what a
database, and JSON, have for a number."""
DAG_CBOR_DEPTH: Final = 32
"""Nesting of maps and lists. Nothing of ours nests deeper than 4."""
DAG_CBOR_ITEMS: Final = 65_536
"""Values in one DAG-CBOR object, keys counted: a room's checkpoint over 20 years has 51,000. A million would fit into
a block, and keep a core busy for seconds."""
CONTENT_PIECE_BYTES: Final = MIB
"""Content in one request or answer of the socket: four leaves. In base64 it is a third of a line."""
CONTENT_SPAN_BYTES: Final = 8 * MIB
"""Content that one request has the daemon read from a file, or write into one: a tenth of a second, and a step of a
progress bar."""
CONTENT_BLOCKS: Final = 4_194_304
"""Blocks of one thing that is fetched: a terabyte of our leaves. An endless thing ends here."""
CONTENT_WAITING: Final = 1_048_576
"""Of these, nodes that link to others, and links not yet followed: 200 MiB at worst. A terabyte of ours has 25,000."""
FILE_PIECES: Final = 131_072
"""Parts of a file that a reader knows of and has not come to. Of ours, 16 nodes at each of 8 levels: 22,000."""
DIRECTORY_ENTRIES: Final = 8192
"""Names in one directory that we make: 2 MiB with the longest ones. Sharded ones, which hold more, we do not make."""
FILE_CHILDREN: Final = 8192
"""Parts of a file in one node that is read. Ours have 174, the widest in use 1,024; each costs 300 bytes."""
FILE_NAME_BYTES: Final = 255
"""A name in a directory: what file systems take."""

# --- pointers ---------------------------------------------------------------------------------------------------------
POINTER_BYTES: Final = 1 * KIB
"""One envelope: the longest that there is, of a room with 64 characters, has about 650."""
POINTER_DOCUMENT_BYTES: Final = 64 * KIB
"""What a pointer points to: a profile with 32 capabilities and 16 addresses has about 20 KiB if all is escaped."""
OFFERED_ROOMS: Final = 64
"""Rooms in one storage offer. Whoever keeps more says so of the first by name."""
PROFILE_TRANSPORTS: Final = 16
"""Addresses in a profile: what the published validators accept."""

# --- bitswap ----------------------------------------------------------------------------------------------------------
BITSWAP_MESSAGE_BYTES: Final = 4 * MIB + 64 * KIB
"""One message. Others send 4 MiB at most, which some of them count without the lengths of its parts."""
BITSWAP_ENTRIES: Final = 4096
"""Wants, cancels and answers read out of one message: four times what go-bitswap remembers of a peer. What is behind
them is not looked at."""
BITSWAP_FIELDS: Final = 65_536
"""Entries in one message above which it is not even parsed: two bytes make one, and become an object of 50."""
BITSWAP_CID_BYTES: Final = 128
"""A binary CID: 36 bytes as a rule, 70 with the longest digest in use."""
BITSWAP_PEER_WANTS: Final = 1024
"""What one peer may want of us at once, as go-bitswap and js-bitswap bound it."""
BITSWAP_PEER_LACKING: Final = 256
"""Of these, what is not here and may come: a hundred files that somebody waits for."""
BITSWAP_WANTS: Final = 32_768
"""Wants of all peers together, about 12 MiB. Beyond it each has its share."""
BITSWAP_TURN_WANTS: Final = 64
"""Wants looked up together for one message."""
BITSWAP_TURN_BYTES: Final = 512 * KIB
"""Blocks in one message that we send, unless one alone is larger: two of our usual size. What is wanted of the peer
waits behind no more than that."""
BITSWAP_SMALL_BYTES: Final = 1024
"""A block that is sent instead of the word that it is here, as go-bitswap and js-bitswap do."""
BITSWAP_SENDING_BYTES: Final = 32 * MIB
"""Blocks read and not yet taken by their peers. Beyond it each has its share, which 128 peers still make 256 KiB."""
BITSWAP_UNDER_WAY: Final = 32
"""Blocks that one session has asked for: 8 MiB of the usual size, which is 250 ms of 268 Mbit/s."""
BITSWAP_SESSION_PEERS: Final = 64
"""Peers that one session asks; of those that are merely connected half as many."""
BITSWAP_REMEMBERED: Final = 512
"""Blocks that a peer may still send after we have cancelled them: all that can be on their way to 16 sessions."""

# --- history of rooms -------------------------------------------------------------------------------------------------
BATCH_MESSAGES: Final = 100
"""Messages in one batch, as the published network has it."""
BATCH_BYTES: Final = MIB
"""One batch. At least three of the largest messages fit; a hundred ordinary ones have 50 KiB."""
DAY_BATCHES: Final = 24_576
"""Batches of one day: 2.4 million messages, more than the log of a room has room for, in an object of 1 MiB."""
CHECKPOINT_DAYS: Final = 8192
"""Days of one room: 22 years, in an object of half a MiB."""
V1_CHECKPOINT_BATCHES: Final = 4096
"""Batches in a checkpoint of the published network, which sets no bound. Ours have 100."""
V1_SYNC_BATCHES: Final = 512
"""Batches named in one response of `/nexus/chat-sync/1.1.0`: half a line of 64 KiB."""

# --- chat-sync --------------------------------------------------------------------------------------------------------
SYNC_FRAME_BYTES: Final = MIB + 256 * KIB
"""One frame: messages of a MiB, or the batches of an hour that had 800,000 of them."""
SYNC_FRAME_ITEMS: Final = 16_384
"""Values in one frame, eight for each range: twice what fits into one that is full of ranges."""
SYNC_WANTS: Final = 256
"""Messages that are wanted or put at once: 100 KiB of ordinary ones, 64 MiB of the largest."""
SYNC_RANGES_BYTES: Final = 64 * KIB
"""What one frame says about ranges: 1,700 messages, or the way to 100 differences. More at once would fill the line
while nobody knows yet what is wanted."""
SYNC_OPEN_RANGES: Final = 2048
"""Ranges in one frame that say something: what fits into it."""
SYNC_PENDING_RANGES: Final = 16_384
"""Ranges that one side has yet to ask about: four levels of frames full of them, and 3 MiB."""
SYNC_ROUNDS: Final = 256
"""Requests about ranges in one session. Ten differences in a million messages take three, 10,000 a hundred."""
SYNC_NEEDS: Final = 16_384
"""Messages that one session finds lacking here. Who offers a million that do not exist has us remember so many; who
lacks more asks again when it has them."""
SYNC_HAVES: Final = 4096
"""Messages that one session finds lacking there. Whoever lacks more asks for itself, and gets batches."""
SYNC_BATCHES: Final = 16_384
"""Batches that one session is told of: 1.6 million messages."""

SYNC_SESSION_WANTS: Final = 65_536
"""Messages wanted in one session: four times what it finds."""
SYNC_UNDELIVERED: Final = 512
"""Messages that were offered in a session and did not come. Some may pass their horizon between the two; more is a
lie."""
SYNC_SESSION_BYTES: Final = 256 * MIB
"""Messages put in one session: as many as it finds lacking there, of 64 KiB each."""
SYNC_HEAD_HOURS: Final = CHECKPOINT_DAYS * 24
"""Hours below one checkpoint."""

# --- relays -----------------------------------------------------------------------------------------------------------
RELAY_MESSAGE_BYTES: Final = 4 * KIB
"""One message to or from a relay, as the specification bounds it."""

# --- payments ---------------------------------------------------------------------------------------------------------
PAYMENT_BYTES: Final = 32 * KIB
"""One x402 object. Ours have 1 to 2 KiB; some carry schemas of what they pay for."""
PAYMENT_OFFERS: Final = 16
"""Terms in one demand that are looked at: a few tokens on a few chains."""
PAYMENT_WINDOW_SLACK_S: Final = 60
"""How much longer than the terms say an authorisation may hold: clocks differ, and a payer makes its round number. One
that holds for ever would have to be remembered for ever."""
PAYMENT_MARGIN_S: Final = 6
"""How long an authorisation must still hold: three blocks of Base, as the official facilitator has it."""
PAYMENT_TIMEOUT_S: Final = 24 * 3600
"""The longest window that terms may state. Until it closes, the payer counts what it signed as spent."""
PAYMENT_PATIENCE_S: Final = 30
"""How long a provider waits until more is signed under a tab. A demand waits longer: a person may have to decide."""
PAYMENT_SETTLING_S: Final = 60
"""How long settling may take: time for one fee that was too low. So much longer than the work an authorisation holds,
and so long before its end a tab is closed."""
PAYMENT_TAB_END_S: Final = 120
"""So long before its end a tab is followed by another: an answer may take PAYMENT_PATIENCE_S, and settlement begins
PAYMENT_SETTLING_S before the end."""
PAYMENT_TABS: Final = 64
"""Tabs of one call, one behind the other: some nine hours of them, or 64 times what the provider trusts the payer with.
Its receipt names them all."""
PAYMENT_UNITS: Final = 1_000_000_000
"""For so many units a price is stated at most: those of a model are of a million tokens."""
PAYMENT_PROMPT_TOKENS: Final = 512
"""Tokens of the input that its text does not explain: what a model's template adds."""
PAYMENT_SECONDS_SLACK: Final = 2
"""Seconds that a provider may count more than the payer: it begins before its first piece is here, and rounds up."""
TOKEN_NAME_CHARS: Final = 64
TOKEN_DECIMALS: Final = 36
"""Properties of a token, as configurations state them. Nothing in use has more than 24 decimals."""
RECEIPT_BYTES: Final = 16 * KIB
"""One receipt: ours have 1.2 KiB, and 150 bytes for each of several tabs."""

# --- Noise and Yamux --------------------------------------------------------------------------------------------------
NOISE_MESSAGE_BYTES: Final = 65_535
"""One Noise message: its length has 16 bits."""
NOISE_TEXT_BYTES: Final = NOISE_MESSAGE_BYTES - 16
"""What one Noise message carries: the tag takes the rest."""
NOISE_EMPTY_MESSAGES: Final = 256
"""Messages without a text, one after the other. Nobody has a use for them; each costs what a short one costs."""

YAMUX_INITIAL_WINDOW: Final = 256 * KIB
"""Both sides assume it of every stream; the specification fixes it."""
YAMUX_WINDOW_BYTES: Final = 4 * MIB
"""To what a receive window grows: 134 Mbit/s at 250 ms, once round the planet. A faster path is a shorter one."""
YAMUX_PEER_BYTES: Final = 16 * MIB
"""Unread bytes and grown windows of one peer, over all its connections: four streams at their widest, or 64 at the
initial window."""
YAMUX_DAEMON_BYTES: Final = 64 * MIB
"""The same for all peers together: what a small host can spare for them."""
YAMUX_INBOUND_STREAMS: Final = 256
"""Streams that the peer has open on one connection. The specification wants 256 at least."""
YAMUX_OUTBOUND_STREAMS: Final = 256
"""Streams that we have open on one connection: a peer with the same bound would refuse more."""
YAMUX_BACKLOG: Final = 256
"""Streams of the peer that nobody has accepted yet, and streams of ours that the peer has not acknowledged."""
YAMUX_SEND_BYTES: Final = 128 * KIB
"""What one stream takes ahead of the transport: two full frames, so that one is at hand while the other is sent."""
YAMUX_SHARE_BYTES: Final = 4 * KIB
"""What a stream takes even if bulk streams have filled the connection, so that a short message never waits for them."""
YAMUX_OUTPUT_BYTES: Final = MIB
"""What all streams of a connection take ahead of the transport together."""
YAMUX_CONTROL_BYTES: Final = 16 * KIB
"""Answers (refusals, pongs) that wait for a peer which sends and does not read: 1,365 frames, then it is dropped."""
YAMUX_PING_SECONDS: Final = 5.0
"""Between pings. With the next figure: a frozen peer is noticed in 13 s at most."""
YAMUX_PING_TIMEOUT: Final = 8.0
"""Silence after a ping that means the peer is gone. Data counts as a sign of life, so a full pipe does not kill."""

YAMUX_RESETS: Final = 1000
YAMUX_RESETS_PER_SECOND: Final = 50.0
"""Streams of the peer that end by reset or refusal: at once, and a second after that. 1,000 requests cancelled together
are honest, 50 a second for ever are not (nghttp2 allows HTTP/2 clients 1,000 and 33)."""
YAMUX_PINGS: Final = 100
YAMUX_PINGS_PER_SECOND: Final = 10.0
"""Pings answered and pongs ignored. Known implementations ping every 5 to 60 s."""
YAMUX_EMPTY_FRAMES: Final = 10_000
YAMUX_EMPTY_FRAMES_PER_SECOND: Final = 5000.0
"""Frames that change nothing. js-libp2p sends one after each data frame, even on a stream that has ended: at its best
rate 3,000 a second."""
YAMUX_TINY_BYTES: Final = 32
YAMUX_TINY_FRAMES: Final = 20_000
YAMUX_TINY_FRAMES_PER_SECOND: Final = 10_000.0
"""Data frames that carry less than that cost far more than they bring: half a million a second keep a core busy. No
protocol of ours or of libp2p has messages so short, and who writes octet by octet does not type so fast."""
YAMUX_MEMORY_RESETS: Final = 4
YAMUX_MEMORY_RESETS_PER_SECOND: Final = 1 / 60
"""Streams of a connection reset because memory ran out, after which the peer is dropped."""

# --- payments: the provider's ledger --------------------------------------------------------------------------------
PAYMENT_RESULT_BYTES: Final = MIB
"""A result that is kept to be given again to whoever paid and did not get it: the published maxOutputBytes. Of a larger
one its digest, its size and the receipt are kept, which prove what was handed over."""
PAYMENT_HELD_BYTES: Final = 4 * MIB
"""Output of one call that waits in memory until it is paid or settled. Who wants more pays as it comes, by a tab."""
PAYMENT_ATTEMPTS: Final = 5
"""How often work is begun under one authorisation: failed work costs its caller nothing, and us something."""
PAYMENT_LIVE_CHARGES: Final = 64
"""Charges of one payer that are not settled yet: a chain that answers settles some twenty in the time of a call."""
PAYMENT_KEY_MARGIN_MS: Final = 86_400_000
"""How long beyond the end of an authorisation its key and its result are kept: a day, more than clocks are wrong by and
chains reorganise."""
PAYMENT_CLOCK_MS: Final = 600_000
"""How far our clock may be from the chain's before we think that an authorisation has ended which has not."""
