"""Configuration: flags over NEXUS_* environment over a TOML file over defaults, and where each value came from.

The file is `<data_dir>/config.toml`, or the one that --config or NEXUS_CONFIG names. Its keys are those of `SETTINGS`,
at the top level; `name`, `data_dir` and `config` say where the file is and so cannot be in it. Unknown keys in the file
are errors. Environment variables that this program does not know are left alone: other programs use the prefix too.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from nexusd import paths
from nexusd.checks import (
    WrongError,
    check_bool,
    check_bootstrap,
    check_bytes,
    check_direct,
    check_extra_tokens,
    check_listen,
    check_metrics,
    check_name,
    check_path,
    check_relay,
    check_rpc_urls,
    check_tokens,
    digits,
    is_name,
    lines,
    listed,
    metrics_address,
    one_of,
    plain,
    read_bool,
    shown,
    whole,
    words,
)
from nexusd.nodes import without_key
from nexusd_protocols.identity import parse_peer_id
from nexusd_protocols.ids import parse_capability_name, parse_room_id
from nexusd_protocols.rpc.schema import ConfigValue

Role = Literal["light", "full", "storage"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
KeyMaterial = Literal["redact", "block", "ask", "allow"]
AgentType = Literal["autonomous", "assistant", "tool", "infrastructure"]

FILE_NAME: Final = "config.toml"
_MAX_FILE_BYTES: Final = 1 << 20


class ConfigError(Exception):
    """A setting is wrong. The message names the setting, its value, where it came from and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one daemon, checked."""

    name: str
    data_dir: Path
    config: Path | None = None
    """The file that was read, or named; None where there is none."""
    port: int = 0
    """TCP port; 0: choose a free one on the first start and remember it (`nexusd.listen`)."""
    listen: tuple[str, ...] = ()
    """Multiaddrs to listen on instead of the default ones."""
    loopback: bool = False
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs to dial at start, each ending in /p2p/<peerId>."""
    relay: tuple[str, ...] = ()
    """Multiaddrs of relays to be reachable through, each ending in /p2p/<peerId>."""
    direct: tuple[str, ...] = ()
    """Multiaddrs of peers to stay connected to and send every message to, each ending in /p2p/<peerId>."""
    mdns: bool = True
    role: Role = "full"
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    agent_type: AgentType = "autonomous"
    max_connections: int = 128
    """Open connections to peers, both ways."""
    max_inbound: int = 96
    """Of these, made by others; never more than `max_connections`."""
    max_per_address: int = 8
    """Inbound connections of one IPv4 address or IPv6 /56."""
    limit_loopback: bool = False
    """Whether the limits for one address hold for 127.0.0.0/8 and ::1 too."""
    deny_peers: tuple[str, ...] = ()
    allow_peers: tuple[str, ...] = ()
    """Peer ids. What is denied is refused; where an allow list has entries, so is what is not on it."""
    deny_rooms: tuple[str, ...] = ()
    allow_rooms: tuple[str, ...] = ()
    deny_capabilities: tuple[str, ...] = ()
    allow_capabilities: tuple[str, ...] = ()
    """Names, or beginnings of names and a `*`. Capabilities: which of ours others may call."""
    metrics_listen: str = ""
    """IP address and port to answer `GET /metrics` on; empty: nowhere."""
    metrics_public: bool = False
    """Whether that address may be one that others reach."""
    storage_total: int = 500 << 20
    """Bytes of content kept for others: of rooms, and what their messages refer to."""
    storage_room: int = 100 << 20
    """Of these, for one room."""
    room_log: int = 1 << 30
    """Bytes of signed messages kept of one room: some three million."""
    autopin: bool = True
    """Whether to keep what messages refer to."""
    free_calls: int = 60
    """Calls an hour of one peer to a capability that is served for a price of 0."""
    rpc_urls: tuple[str, ...] = ()
    """Nodes of chains: `base=https://…`. A network without one takes payments unfunded, and settles nothing."""
    tokens: tuple[str, ...] = ()
    """EIP-3009 tokens besides USDC: `base/0x…/EURC/6/2/EURC`, see `nodes.token`."""
    wallet_password_file: Path | None = None
    """A file with the wallet's password, to open it at the start."""
    accept_unbound: bool = False
    """Whether to take authorisations that do not name the request, as stock x402 payers make them. Only where this
    daemon alone is paid at its address: one could be shown to each that is."""
    trust_peers: tuple[str, ...] = ()
    """Peers that are trusted as payers."""
    known_after: int = 3
    """Settled payments behind which a stranger is known."""
    tab_stranger: str = "0.05"
    tab_known: str = "1"
    tab_trusted: str = "5"
    """Whole tokens that one tab grows to, by what is known of its payer: until it is settled, it can be lost."""
    exposure_stranger: str = "0.5"
    exposure_payer: str = "5"
    exposure_trusted: str = "20"
    exposure_total: str = "50"
    exposure_offline: str = "0.1"
    """Whole tokens that may be owed and not settled: by one payer (a stranger, known, trusted), by all; and by both
    where no chain is asked."""
    hold_above: str = "1"
    """Whole tokens above which output waits until the payment is settled."""
    key_material_messages: KeyMaterial = "ask"
    """What becomes of key material in what is said to rooms and peers."""
    key_material_calls: KeyMaterial = "allow"
    """The same of what goes into calls, and comes out of them here. To look takes 80 ms a megabyte."""
    hold_strangers: bool = True
    """Whether it waits too for whoever is a stranger."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Key to `default`, `file <path>`, `environment NEXUS_…` or `flag --…`."""

    def values(self) -> list[ConfigValue]:
        """Every setting and its origin, in the order of the reference."""
        return [
            ConfigValue(key=s.key, value=s.shown(getattr(self, s.key)), origin=self.origins.get(s.key, "default"))
            for s in SETTINGS
        ]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the reference. `read` takes the text of an environment variable, `check` a typed value."""

    key: str
    summary: str
    read: Callable[[str], Any]
    check: Callable[[Any], Any]
    in_file: bool = True
    secret: bool = False
    """Its values may hold keys, and are shown without them."""

    def shown(self, value: Any) -> Any:
        """The value as it may be told."""
        return [without_key(each) for each in value] if self.secret else plain(value)

    @property
    def environment(self) -> str:
        return f"NEXUS_{self.key.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.key.replace('_', '-')}"


def load(
    flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None, *, cwd: Path | None = None
) -> Config:
    """Put the layers together. `flags` maps keys to typed values, None for those not given; an environment variable
    that is set to nothing counts as not set. Raises ConfigError."""
    environment = os.environ if environment is None else environment
    cwd = Path.cwd() if cwd is None else cwd
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(setting: Setting, raw: Any, origin: str, convert: Callable[[Any], Any]) -> None:
        try:
            values[setting.key] = convert(raw)
        except WrongError as wrong:
            value = "…" if setting.secret else shown(raw)
            raise ConfigError(f"{setting.key} = {value} ({origin}): expected {wrong}") from None
        origins[setting.key] = origin

    for setting in SETTINGS:
        given = (flags or {}).get(setting.key)
        if given is not None and given != () and given != []:
            flag = "--no-" + setting.flag[2:] if given is False else setting.flag
            take(setting, given, f"flag {flag}", setting.check)
        elif text := environment.get(setting.environment, ""):
            take(setting, text, f"environment {setting.environment}", setting.read)
    _locate(values, origins, environment, cwd)
    for key, raw in _read_file(values.get("config"), values["data_dir"] / FILE_NAME).items():
        file = values.get("config") or values["data_dir"] / FILE_NAME
        setting = _known(key, file)
        if key not in values:
            take(setting, raw, f"file {file}", setting.check)
    if (password := values.get("wallet_password_file")) is not None:
        # of the file, beside it: the daemon may be started from anywhere
        beside = values["data_dir"] if origins["wallet_password_file"].startswith("file ") else cwd
        values["wallet_password_file"] = Path(os.path.normpath(beside / password.expanduser()))
    config = Config(**values, origins=origins)
    _check_together(config)
    return config


def _locate(values: dict[str, Any], origins: dict[str, str], environment: Mapping[str, str], cwd: Path) -> None:
    """Settle name and data directory: either follows from the other, and `default` from neither."""
    for key in ("data_dir", "config"):
        if key in values:
            values[key] = Path(os.path.normpath(cwd / values[key].expanduser()))
    if "data_dir" in values:
        if "name" not in values:
            basename = values["data_dir"].name
            values["name"] = basename if is_name(basename) else paths.DEFAULT_NAME
            origins["name"] = origins["data_dir"] if is_name(basename) else "default"
        return
    values.setdefault("name", paths.DEFAULT_NAME)
    values["data_dir"] = paths.data_dir_of(values["name"], environment)
    origins["data_dir"] = origins.get("name", "default")


def _read_file(named: Path | None, usual: Path) -> dict[str, Any]:
    path = named or usual
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if named is None:
            return {}
        raise ConfigError(f"There is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise ConfigError(f"The configuration file {path} is over {_MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"The configuration file {path} is not TOML: {error}") from None


def _known(key: str, file: Path) -> Setting:
    setting = BY_KEY.get(key)
    if setting is not None and setting.in_file:
        return setting
    if setting is not None:
        raise ConfigError(f"{key} in {file}: it says where that file is; give it as {setting.flag}")
    keys = [s.key for s in SETTINGS if s.in_file]
    near = difflib.get_close_matches(key.replace("-", "_").lower(), keys, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(keys)}"
    raise ConfigError(f"Unknown key {key} in {file}: {hint}")


def _check_together(config: Config) -> None:
    for named, addresses in (("bootstrap", config.bootstrap), ("direct", config.direct)):
        for peer in (address.rpartition("/p2p/")[2] for address in addresses):
            if peer in config.deny_peers or (config.allow_peers and peer not in config.allow_peers):
                key = "deny_peers" if peer in config.deny_peers else "allow_peers"
                raise ConfigError(
                    f"{named} ({config.origins[named]}) names {peer}, which {key} ({config.origins[key]}) refuses: "
                    "change one of them"
                )
    if (
        config.metrics_listen
        and not config.metrics_public
        and not metrics_address(config.metrics_listen)[0].is_loopback
    ):
        raise ConfigError(
            f"metrics_listen = {config.metrics_listen!r} ({config.origins['metrics_listen']}): others could read the "
            "metrics there; listen on 127.0.0.1, or set metrics_public if that is what you want"
        )
    if not config.listen:
        return
    for key, given in (("port", config.port != 0), ("loopback", config.loopback)):
        if given:
            raise ConfigError(
                f"{key} ({config.origins[key]}) is for the default addresses and listen ({config.origins['listen']}) "
                "replaces them: put it into the addresses"
            )


_role = one_of("light", "full", "storage")
_level = one_of("debug", "info", "warning", "error")
_format = one_of("text", "json")
_type = one_of("autonomous", "assistant", "tool", "infrastructure")
_keys = one_of("redact", "block", "ask", "allow")
_port = whole(0, 65535, " (choose one)")
_connections = whole(4, 4096)
_few = whole(1, 4096)
_calls = whole(1, 1_000_000)
_payments = whole(1, 1000)
_peers = listed(parse_peer_id, "peer ids, each whole: 12D3KooW…", beginnings=False)
_rooms = listed(parse_room_id, "room names such as general, or beginnings of names such as work-*")
_capabilities = listed(parse_capability_name, "capability names such as upper, or beginnings of names such as gpt-*")

SETTINGS: Final = (
    Setting("name", "profile; its data is in $XDG_DATA_HOME/nexusd/<name>", check_name, check_name, in_file=False),
    Setting("data_dir", "data directory, instead of the profile's", check_path, check_path, in_file=False),
    Setting("config", "configuration file, instead of <data_dir>/config.toml", check_path, check_path, in_file=False),
    Setting("port", "TCP port; 0 chooses a free one on the first start and remembers it", digits(_port), _port),
    Setting("listen", "multiaddrs to listen on, instead of all interfaces", words(check_listen), check_listen),
    Setting("loopback", "listen on 127.0.0.1 only", read_bool, check_bool),
    Setting("bootstrap", "multiaddrs to dial at start", words(check_bootstrap), check_bootstrap),
    Setting("relay", "multiaddrs of relays to be reachable through", words(check_relay), check_relay),
    Setting("direct", "multiaddrs of peers never to be without (direct peers)", words(check_direct), check_direct),
    Setting("mdns", "find peers on the LAN", read_bool, check_bool),
    Setting("role", "light (DHT client), full or storage", _role, _role),
    Setting("log_level", "debug, info, warning or error", _level, _level),
    Setting("log_format", "text or json", _format, _format),
    Setting("agent_type", "autonomous, assistant, tool or infrastructure", _type, _type),
    Setting("max_connections", "connections to peers, both ways", digits(_connections), _connections),
    Setting("max_inbound", "of these, made by others", digits(_few), _few),
    Setting("max_per_address", "inbound connections of one IPv4 address or IPv6 /56", digits(_few), _few),
    Setting("limit_loopback", "hold this host's own addresses to that too", read_bool, check_bool),
    Setting("deny_peers", "peers to refuse", words(_peers), _peers),
    Setting("allow_peers", "refuse all other peers", words(_peers), _peers),
    Setting("deny_rooms", "rooms never to be in; `spam*` stands for all that begin so", words(_rooms), _rooms),
    Setting("allow_rooms", "be in no other rooms", words(_rooms), _rooms),
    Setting("deny_capabilities", "capabilities that others may not call", words(_capabilities), _capabilities),
    Setting("allow_capabilities", "others may call no other capabilities", words(_capabilities), _capabilities),
    Setting("metrics_listen", "answer `GET /metrics` here: 127.0.0.1:9464", check_metrics, check_metrics),
    Setting("metrics_public", "let that be an address that others reach", read_bool, check_bool),
    Setting("storage_total", "bytes of content kept for others: 500MiB, 2GiB", check_bytes, check_bytes),
    Setting("storage_room", "of these, for one room", check_bytes, check_bytes),
    Setting("room_log", "bytes of messages kept of one room: 1GiB", check_bytes, check_bytes),
    Setting("autopin", "keep content that messages refer to", read_bool, check_bool),
    Setting("free_calls", "calls an hour of one peer to what has a price of 0", digits(_calls), _calls),
    Setting("rpc_urls", "nodes of chains: base=https://host/key", words(check_rpc_urls), check_rpc_urls, secret=True),
    Setting("tokens", "more EIP-3009 tokens: base/0x…/EURC/6/2/EURC", lines(check_extra_tokens), check_extra_tokens),
    Setting("wallet_password_file", "opens the wallet at the start", check_path, check_path),
    Setting("accept_unbound", "take stock x402 payments; only where nobody else is paid there", read_bool, check_bool),
    Setting("trust_peers", "peers that are trusted as payers", words(_peers), _peers),
    Setting("known_after", "settled payments behind which a stranger is known", digits(_payments), _payments),
    Setting("tab_stranger", "whole tokens that a stranger's tab grows to", check_tokens, check_tokens),
    Setting("tab_known", "the same of a payer that is known", check_tokens, check_tokens),
    Setting("tab_trusted", "the same of one that is trusted", check_tokens, check_tokens),
    Setting("exposure_stranger", "whole tokens that a stranger may owe unsettled", check_tokens, check_tokens),
    Setting("exposure_payer", "the same of a payer that is known", check_tokens, check_tokens),
    Setting("exposure_trusted", "the same of one that is trusted", check_tokens, check_tokens),
    Setting("exposure_total", "the same of all payers", check_tokens, check_tokens),
    Setting("exposure_offline", "instead of all these, where no chain is asked", check_tokens, check_tokens),
    Setting("hold_above", "above it output waits for the settlement", check_tokens, check_tokens),
    Setting("key_material_messages", "in messages: redact, block, ask or allow it", _keys, _keys),
    Setting("key_material_calls", "in calls and their results: the same", _keys, _keys),
    Setting("hold_strangers", "it waits for strangers", read_bool, check_bool),
)
BY_KEY: Final = {setting.key: setting for setting in SETTINGS}
