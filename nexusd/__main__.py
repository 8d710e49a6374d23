"""`nexusd`: run the daemon, in the foreground or detached. Everything else is `nexus`, a client of its socket.

Start-up has one way: read the configuration, set up the log, then `nexusd.app.run`, which is imported last because it
brings libp2p with it. What goes wrong on the way is one sentence that says what to do, on stderr, and exit code 1. With
`--json` both, that it is ready and what went wrong, are an envelope on stdout as `nexus` prints them.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from nexusd import __version__
from nexusd.cli import usage
from nexusd.config import AgentType, Config, ConfigError, KeyMaterial, LogFormat, LogLevel, Role, load
from nexusd.keystore import KeyFileError
from nexusd.listen import PortInUseError
from nexusd.lockfile import AlreadyRunning
from nexusd.paths import UnsafePathError

if TYPE_CHECKING:
    from nexusd.ready import ReadyInfo

app = App(
    suppress_keyboard_interrupt=False,  # the exit code is ours to choose
    name="nexusd",
    help="The nexus mesh daemon. `nexus` talks to it.",
    version=f"nexusd {__version__}",
    help_format="plaintext",
    help_epilogue=(
        "The settings of `run` are also environment variables (NEXUS_PORT) and keys of <data_dir>/config.toml (port)."
    ),
)

_Listed = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]
_Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
_Switch = Annotated[bool | None, Parameter(show_default=False)]


@app.command
def run(
    *,
    name: Annotated[str | None, Parameter(alias="-n")] = None,
    data_dir: Path | None = None,
    config: Path | None = None,
    port: int | None = None,
    listen: _Listed = (),
    bootstrap: _Listed = (),
    relay: _Listed = (),
    direct: _Listed = (),
    mdns: _Switch = None,
    loopback: _Switch = None,
    role: Role | None = None,
    agent_type: AgentType | None = None,
    log_level: LogLevel | None = None,
    log_format: LogFormat | None = None,
    max_connections: int | None = None,
    max_inbound: int | None = None,
    max_per_address: int | None = None,
    limit_loopback: _Switch = None,
    deny_peers: _Listed = (),
    allow_peers: _Listed = (),
    deny_rooms: _Listed = (),
    allow_rooms: _Listed = (),
    deny_capabilities: _Listed = (),
    allow_capabilities: _Listed = (),
    metrics_listen: str | None = None,
    metrics_public: _Switch = None,
    storage_total: str | None = None,
    storage_room: str | None = None,
    room_log: str | None = None,
    autopin: _Switch = None,
    free_calls: int | None = None,
    rpc_urls: _Listed = (),
    tokens: _Listed = (),
    wallet_password_file: Path | None = None,
    accept_unbound: _Switch = None,
    trust_peers: _Listed = (),
    known_after: int | None = None,
    tab_stranger: str | None = None,
    tab_known: str | None = None,
    tab_trusted: str | None = None,
    exposure_stranger: str | None = None,
    exposure_payer: str | None = None,
    exposure_trusted: str | None = None,
    exposure_total: str | None = None,
    exposure_offline: str | None = None,
    hold_above: str | None = None,
    hold_strangers: _Switch = None,
    key_material_messages: KeyMaterial | None = None,
    key_material_calls: KeyMaterial | None = None,
    detach: _Flag = False,
    json: _Flag = False,
) -> int:
    """Run a daemon; Ctrl-C drains and stops it.

    Example: nexusd run --name bob --detach

    Parameters
    ----------
    name
        Profile; its data is in $XDG_DATA_HOME/nexusd/<name> (default: default).
    data_dir
        Data directory, instead of the profile's.
    config
        Configuration file, instead of <data_dir>/config.toml.
    port
        TCP port; 0 chooses a free one on the first start and remembers it.
    listen
        Multiaddr to listen on, instead of all interfaces; repeatable.
    bootstrap
        Multiaddr of a peer to dial at start, ending in /p2p/<peerId>; repeatable.
    relay
        Multiaddr of a relay to be reachable through, ending in /p2p/<peerId>; repeatable.
    direct
        Multiaddr of a peer to stay connected to and to send every message to, ending in /p2p/<peerId>; repeatable.
    mdns
        Find peers on the LAN (default: yes).
    loopback
        Listen on 127.0.0.1 only.
    role
        How much to do for others: light is a DHT client (default: full).
    agent_type
        What kind of agent this is (default: autonomous).
    log_level
        How much to log (default: info).
    log_format
        Text or JSON lines (default: text).
    max_connections
        Connections to peers, both ways (default: 128).
    max_inbound
        Of these, made by others (default: 96).
    max_per_address
        Inbound connections of one IPv4 address or IPv6 /56 (default: 8).
    limit_loopback
        Hold this host's own addresses to that too.
    deny_peers
        Peer id to refuse; repeatable, as the next ones are.
    allow_peers
        Peer id; refuse all others.
    deny_rooms
        Room never to be in; spam* stands for all that begin so.
    allow_rooms
        Room; be in no others.
    deny_capabilities
        Capability that others may not call; gpt-* stands for all that begin so.
    allow_capabilities
        Capability that others may call, and no others.
    metrics_listen
        Answer `GET /metrics` at this IP address and port, such as 127.0.0.1:9464.
    metrics_public
        Let that be an address that others reach.
    storage_total
        Content kept for others, such as 2GiB (default: 500MiB).
    storage_room
        Of this, for one room (default: 100MiB).
    room_log
        Messages kept of one room (default: 1GiB).
    autopin
        Keep content that messages of rooms refer to (default: yes).
    free_calls
        Calls an hour of one peer to a capability that is served for a price of 0 (default: 60).
    rpc_urls
        Node of a chain, such as base=https://mainnet.base.org; repeatable. It may hold a key: better in the file.
    tokens
        EIP-3009 token besides USDC, such as base/0x…/EURC/6/2/EURC: network, contract, symbol, decimals, and version
        and name of its EIP-712 domain; repeatable.
    wallet_password_file
        File with the wallet's password, to open it at the start.
    accept_unbound
        Take payments that do not name the request, as stock x402 clients make them (default: no). Only where no other
        daemon is paid at the same address: such a payment could be shown to both.
    trust_peers
        Peer id that is trusted as a payer; repeatable.
    known_after
        Settled payments behind which a stranger is known (default: 3).
    tab_stranger
        Whole tokens that the tab of a stranger grows to (default: 0.05).
    tab_known
        The same of a payer that is known (default: 1).
    tab_trusted
        The same of one that is trusted (default: 5).
    exposure_stranger
        Whole tokens that a stranger may owe and not have settled (default: 0.5).
    exposure_payer
        The same of a payer that is known (default: 5).
    exposure_trusted
        The same of one that is trusted (default: 20).
    exposure_total
        The same of all payers (default: 50).
    exposure_offline
        Instead of all these, where no chain is asked (default: 0.1).
    hold_above
        Whole tokens above which output waits until the payment is settled (default: 1).
    hold_strangers
        Let it wait too for strangers (default: yes).
    key_material_messages
        What becomes of keys and passwords in messages: ask is to send them only --anyway (default: ask).
    key_material_calls
        The same of what goes into calls, and comes out of them here (default: allow).
    detach
        Return once the daemon is ready; it logs to <data_dir>/nexusd.log.
    json
        Say as JSON on standard output who and where it is once it is ready, or why it is not.
    """
    flags = {key: value for key, value in locals().items() if key not in ("detach", "json")}
    complain = _complain_in_json if json else _complain
    try:
        settings = load(flags)
    except ConfigError as error:
        return complain(str(error))
    announce = _announce_in_json if json else _announce
    return _detached(settings, announce, complain) if detach else _serve(settings, None, announce, complain)


@app.command
def openrpc() -> int:
    """Print the socket's interface as an OpenRPC document.

    Example: nexusd openrpc > openrpc.json
    """
    import msgspec

    from nexusd_protocols.rpc.openrpc import document

    _out(msgspec.json.format(msgspec.json.encode(document()), indent=2).decode())
    return 0


@app.command
def version() -> int:
    """Print the version."""
    _out(f"nexusd {__version__}")
    return 0


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point: exits 0, or 1 for what was refused or used wrongly."""
    sys.exit(_main(sys.argv[1:] if argv is None else argv))


def _main(argv: Sequence[str]) -> int:
    try:
        status: int | None = usage.run(app, argv)
        return status or 0
    except usage.UsageError as error:
        complain = _complain_in_json if "--json" in argv else _complain
        return complain(f"{error}: {error.try_}")
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        usage.silence(sys.stdout)
        return 0


def _detached(config: Config, announce: Callable[[ReadyInfo], None], complain: Callable[[str], int]) -> int:
    from msgspec.structs import replace

    from nexusd import detach, logs, paths

    log_file = config.data_dir / logs.FILE_NAME
    try:
        paths.make_private_dir(config.data_dir)
        log_file.touch(0o600)
        info = detach.start(lambda to: _serve(config, log_file, to.ready, to.failed), log_file)
    except (detach.StartFailed, UnsafePathError, OSError) as error:
        return complain(_sentence(error) or str(error))
    announce(replace(info, log=str(log_file)))
    return 0


def _serve(
    config: Config, log_file: Path | None, ready: Callable[[ReadyInfo], None], failed: Callable[[str], object]
) -> int:
    """Run the daemon until it stops. What stops it from starting goes to `failed` as a sentence."""
    from nexusd import logs, paths

    # until the daemon listens for signals itself there is nothing to drain
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        paths.make_private_dir(config.data_dir)
        logs.configure(level=config.log_level, fmt=config.log_format, file=log_file)
        gc.disable()  # a fifth of loading would be looking for garbage; `app` turns it on again
        from nexusd.host import unused

        unused.leave_out()
        from nexusd import app as daemon

        return daemon.run(config, ready=ready)
    except KeyboardInterrupt:
        return 0
    except Exception as error:  # the last resort: known errors become a sentence, bugs a log record
        return _explain(error, log_file, failed)


def _explain(error: Exception, log_file: Path | None, failed: Callable[[str], object]) -> int:
    import structlog

    sentences = [_sentence(leaf) for leaf in _leaves(error)]
    known = [sentence for sentence in sentences if sentence]
    if len(known) == len(sentences):
        failed("; ".join(dict.fromkeys(known)))
        return 1
    structlog.get_logger("nexusd").critical("the daemon failed", exc_info=error)
    where = f"see {log_file}" if log_file else "see the log above"
    failed(f"The daemon failed ({type(error).__name__}): {where}; please report it")
    return 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _sentence(error: BaseException) -> str | None:
    """What to tell the user, or None if the error is not the user's business but a bug."""
    from nexusd.api.metrics_http import MetricsAddressError
    from nexusd.host.ports import HostError
    from nexusd.store.errors import StorageError

    known: tuple[Any, ...] = (
        AlreadyRunning,
        ConfigError,
        KeyFileError,
        MetricsAddressError,
        PortInUseError,
        UnsafePathError,
        HostError,
        StorageError,
    )
    if isinstance(error, known):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return None


def _announce(info: ReadyInfo) -> None:
    from nexusd.ready import announcement

    _say(announcement(info))


def _announce_in_json(info: ReadyInfo) -> None:
    from nexusd.cli.output import Success, line_of

    _out(line_of(Success(data=info)))


def _complain_in_json(sentence: str) -> int:
    from nexusd.cli.output import Failure, Refused, line_of

    _out(line_of(Refused(error=Failure(code="not_started", message=sentence, try_="see the message", exit_code=1))))
    return 1


def _complain(sentence: str) -> int:
    _say(f"nexusd: {sentence}")
    return 1


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
