"""Configuration: flags over NEXUS_* environment over a TOML file over defaults, and where each value came from.

The file is `<data_dir>/config.toml`, or the one that --config or NEXUS_CONFIG names. Its keys are those of `SETTINGS`,
at the top level; `name`, `data_dir` and `config` say where the file is and so cannot be in it. Unknown keys in the file
are errors. Environment variables that this program does not know are left alone: other programs use the prefix too.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, Literal, cast

from nexusd import paths
from nexusd.nodes import millionths, rpc_url, without_key
from nexusd_protocols.identity import parse_peer_id
from nexusd_protocols.ids import parse_capability_name, parse_room_id
from nexusd_protocols.rpc.schema import ConfigValue

Role = Literal["light", "full", "storage"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
AgentType = Literal["autonomous", "assistant", "tool", "infrastructure"]

FILE_NAME: Final = "config.toml"
_MAX_FILE_BYTES: Final = 1 << 20
_BYTES: Final = re.compile(r"([0-9]{1,15}) ?(?:([kmgt])(i?))?b?", re.ASCII | re.IGNORECASE)
_MOST_BYTES: Final = 10**15
_MOST_LISTED: Final = 10_000
"""Entries of a trust list: they are all in memory, and a longer one is a program's business."""
_MOST_DIRECT: Final = 64
"""Direct peers: each has a connection of its own for ever, and a copy of every message."""


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
    storage_total: int = 500_000_000
    """Bytes of content kept for others: of rooms, and what their messages refer to."""
    storage_room: int = 100_000_000
    """Of these, for one room."""
    room_log: int = 1 << 30
    """Bytes of signed messages kept of one room: some three million."""
    autopin: bool = True
    """Whether to keep what messages refer to."""
    rpc_urls: tuple[str, ...] = ()
    """Nodes of chains: `base=https://…`. A network without one takes payments unfunded, and settles nothing."""
    wallet_password_file: Path | None = None
    """A file with the wallet's password, to open it at the start."""
    accept_unbound: bool = False
    """Whether to take authorisations that do not name the request. Only where nobody else is paid at that address."""
    exposure_payer: str = "5"
    exposure_total: str = "50"
    exposure_offline: str = "0.1"
    """Whole tokens that may be owed and not settled: by one payer, by all; and by both where no chain is asked."""
    hold_above: str = "1"
    """Whole tokens above which output waits until the payment is settled."""
    hold_strangers: bool = True
    """Whether it waits too for whoever has settled nothing here yet."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Key to `default`, `file <path>`, `environment NEXUS_…` or `flag --…`."""

    def values(self) -> list[ConfigValue]:
        """Every setting and its origin, in the order of the reference."""
        return [
            ConfigValue(key=s.key, value=s.shown(getattr(self, s.key)), origin=self.origins.get(s.key, "default"))
            for s in SETTINGS
        ]


class _WrongError(Exception):
    """What was expected instead."""


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
        return [without_key(each) for each in value] if self.secret else _plain(value)

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
        except _WrongError as wrong:
            value = "…" if setting.secret else _shown(raw)
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
            values["name"] = basename if _is_name(basename) else paths.DEFAULT_NAME
            origins["name"] = origins["data_dir"] if _is_name(basename) else "default"
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


# --- readers (text) and checks (typed values) -----------------------------------------------------------------------
def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise _WrongError(f"one of {', '.join(words)}")
        return cast("str", value)

    return check


def _whole(low: int, high: int, hint: str = "") -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _WrongError(f"a whole number from {low}{hint} to {high}")
        return value

    return check


def _check_bytes(value: Any) -> int:
    """Bytes: a number, or a number and a unit."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_BYTES:
        return value
    found = _BYTES.fullmatch(value) if isinstance(value, str) else None
    power = "kmgt".index(found[2].lower()) + 1 if found is not None and found[2] else 0
    count = int(found[1] if found else _MOST_BYTES + 1)
    for _ in range(power):
        count *= 1024 if found is not None and found[3] else 1000
    if count > _MOST_BYTES:
        raise _WrongError("a size such as 500MB or 2GiB, at most 1000TB")
    return count


def _digits(check: Callable[[Any], int]) -> Callable[[str], int]:
    return lambda text: check(int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None)


def _check_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongError("true or false")
    return value


def _read_bool(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return _check_bool(words.get(text.lower()))


def _check_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise _WrongError("a path")
    return Path(value)


def _check_name(value: Any) -> str:
    try:
        return paths.parse_name(value)
    except (ValueError, TypeError) as error:
        raise _WrongError(f"another one: {error}") from None


def _is_name(text: str) -> bool:
    try:
        paths.parse_name(text)
    except ValueError:
        return False
    return True


def _check_listen(value: Any) -> tuple[str, ...]:
    return _addresses(
        value, "a list of multiaddrs such as /ip4/0.0.0.0/tcp/4001", lambda address: "/p2p/" not in address
    )


def _check_bootstrap(value: Any) -> tuple[str, ...]:
    return _addresses(
        value, "a list of multiaddrs such as /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…, each with its peer id", _has_peer
    )


def _listed(parse: Callable[[str], object], expected: str, *, beginnings: bool = True) -> Callable[[Any], Any]:
    """A list of names that `parse` takes, or beginnings of such and a `*`."""

    def fits(entry: object) -> bool:
        if not isinstance(entry, str):
            return False
        try:
            # what a name may begin with is a name itself, and any name begins with nothing
            return (beginnings and entry == "*") or bool(parse(entry.removesuffix("*") if beginnings else entry))
        except ValueError:
            return False

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > _MOST_LISTED or not all(map(fits, value)):
            raise _WrongError(f"a list of {expected}")
        return tuple(dict.fromkeys(value))

    return check


def _check_relay(value: Any) -> tuple[str, ...]:
    return _addresses(
        value,
        "a list of multiaddrs of relays such as /ip4/203.0.113.5/tcp/4001/p2p/12D3KooW…, each with its peer id",
        lambda address: _has_peer(address) and "/p2p-circuit" not in address,
    )


def _check_direct(value: Any) -> tuple[str, ...]:
    expected = (
        f"a list of multiaddrs of at most {_MOST_DIRECT} peers such as /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…, "
        "each with its peer id"
    )
    found = _addresses(value, expected, _has_peer)
    if len({address.rpartition("/p2p/")[2] for address in found}) > _MOST_DIRECT:
        raise _WrongError(expected)
    return found


def _has_peer(address: str) -> bool:
    _, mark, peer = address.rpartition("/p2p/")
    try:
        return bool(mark and parse_peer_id(peer))
    except ValueError:
        return False


def _addresses(value: Any, expected: str, fits: Callable[[str], bool]) -> tuple[str, ...]:
    from multiaddr import Multiaddr  # slow to import, and most configurations name no address

    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _WrongError(expected)
    for address in value:
        try:
            Multiaddr(address)
        except ValueError:
            raise _WrongError(expected) from None
        if not fits(address):
            raise _WrongError(expected)
    return tuple(value)


def metrics_address(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Address and port of `127.0.0.1:9464` or `[::1]:9464`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("no port")
    if host.startswith("[") and host.endswith("]"):
        return IPv6Address(host[1:-1]), int(port)
    return IPv4Address(host), int(port)


def _check_metrics(value: Any) -> str:
    try:
        metrics_address(value)
    except (ValueError, AttributeError):
        raise _WrongError("an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464") from None
    return cast("str", value)


def _check_rpc_urls(value: Any) -> tuple[str, ...]:
    wrong = _WrongError("a list of networks and their nodes, one for each, such as base=https://mainnet.base.org")
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise wrong
    try:
        chains = [rpc_url(each)[0] for each in value]
    except ValueError:
        raise wrong from None
    if len(set(chains)) != len(chains):
        raise wrong
    return tuple(value)


def _check_tokens(value: Any) -> str:
    text = str(value) if type(value) in (int, float) else value
    try:
        millionths(text)
    except (ValueError, TypeError):
        raise _WrongError("whole tokens, such as 0.5 or 20") from None
    return cast("str", text)


def _words(check: Callable[[Any], Any]) -> Callable[[str], Any]:
    return lambda text: check(text.replace(",", " ").split())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """A refused value, as the user wrote it, cut to what a message can hold."""
    text = repr(value) if isinstance(value, str) else str(_plain(value))
    return text if len(text) <= 80 else text[:79] + "…"


_role = _one_of("light", "full", "storage")
_level = _one_of("debug", "info", "warning", "error")
_format = _one_of("text", "json")
_type = _one_of("autonomous", "assistant", "tool", "infrastructure")
_port = _whole(0, 65535, " (choose one)")
_connections = _whole(4, 4096)
_few = _whole(1, 4096)
_peers = _listed(parse_peer_id, "peer ids, each whole: 12D3KooW…", beginnings=False)
_rooms = _listed(parse_room_id, "room names such as general, or beginnings of names such as work-*")
_capabilities = _listed(parse_capability_name, "capability names such as upper, or beginnings of names such as gpt-*")

SETTINGS: Final = (
    Setting("name", "profile; its data is in $XDG_DATA_HOME/nexusd/<name>", _check_name, _check_name, in_file=False),
    Setting("data_dir", "data directory, instead of the profile's", _check_path, _check_path, in_file=False),
    Setting("config", "configuration file, instead of <data_dir>/config.toml", _check_path, _check_path, in_file=False),
    Setting("port", "TCP port; 0 chooses a free one on the first start and remembers it", _digits(_port), _port),
    Setting("listen", "multiaddrs to listen on, instead of all interfaces", _words(_check_listen), _check_listen),
    Setting("loopback", "listen on 127.0.0.1 only", _read_bool, _check_bool),
    Setting("bootstrap", "multiaddrs to dial at start", _words(_check_bootstrap), _check_bootstrap),
    Setting("relay", "multiaddrs of relays to be reachable through", _words(_check_relay), _check_relay),
    Setting("direct", "multiaddrs of peers never to be without (direct peers)", _words(_check_direct), _check_direct),
    Setting("mdns", "find peers on the LAN", _read_bool, _check_bool),
    Setting("role", "light (DHT client), full or storage", _role, _role),
    Setting("log_level", "debug, info, warning or error", _level, _level),
    Setting("log_format", "text or json", _format, _format),
    Setting("agent_type", "autonomous, assistant, tool or infrastructure", _type, _type),
    Setting("max_connections", "connections to peers, both ways", _digits(_connections), _connections),
    Setting("max_inbound", "of these, made by others", _digits(_few), _few),
    Setting("max_per_address", "inbound connections of one IPv4 address or IPv6 /56", _digits(_few), _few),
    Setting("limit_loopback", "hold this host's own addresses to that too", _read_bool, _check_bool),
    Setting("deny_peers", "peers to refuse", _words(_peers), _peers),
    Setting("allow_peers", "refuse all other peers", _words(_peers), _peers),
    Setting("deny_rooms", "rooms never to be in; `spam*` stands for all that begin so", _words(_rooms), _rooms),
    Setting("allow_rooms", "be in no other rooms", _words(_rooms), _rooms),
    Setting("deny_capabilities", "capabilities that others may not call", _words(_capabilities), _capabilities),
    Setting("allow_capabilities", "others may call no other capabilities", _words(_capabilities), _capabilities),
    Setting("metrics_listen", "answer `GET /metrics` here: 127.0.0.1:9464", _check_metrics, _check_metrics),
    Setting("metrics_public", "let that be an address that others reach", _read_bool, _check_bool),
    Setting("storage_total", "bytes of content kept for others: 500MB, 2GiB", _check_bytes, _check_bytes),
    Setting("storage_room", "of these, for one room", _check_bytes, _check_bytes),
    Setting("room_log", "bytes of messages kept of one room: 1GiB", _check_bytes, _check_bytes),
    Setting("autopin", "keep content that messages refer to", _read_bool, _check_bool),
    Setting(
        "rpc_urls", "nodes of chains: base=https://host/key", _words(_check_rpc_urls), _check_rpc_urls, secret=True
    ),
    Setting("wallet_password_file", "opens the wallet at the start", _check_path, _check_path),
    Setting("accept_unbound", "take payments that do not name the request", _read_bool, _check_bool),
    Setting("exposure_payer", "whole tokens that one payer may owe unsettled", _check_tokens, _check_tokens),
    Setting("exposure_total", "the same of all payers", _check_tokens, _check_tokens),
    Setting("exposure_offline", "instead of both, where no chain is asked", _check_tokens, _check_tokens),
    Setting("hold_above", "above it output waits for the settlement", _check_tokens, _check_tokens),
    Setting("hold_strangers", "it waits for whoever has settled nothing yet", _read_bool, _check_bool),
)
BY_KEY: Final = {setting.key: setting for setting in SETTINGS}
