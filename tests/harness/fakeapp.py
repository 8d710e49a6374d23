"""`nexusd` with another daemon inside: what the process does around it can be tested without a network.

python -m tests.harness.fakeapp SCENARIO nexusd-arguments…
"""

import os
import signal
import sys
import time
import types
from collections.abc import Callable

from nexusd import listen, lockfile
from nexusd.config import Config
from nexusd.ready import ReadyInfo


def _ready(config: Config, ready: Callable[[ReadyInfo], None]) -> None:
    ready(
        ReadyInfo(
            name=config.name,
            peer_id="12D3KooWFake",
            addresses=listen.addresses(config),
            data_dir=str(config.data_dir),
            socket=str(config.data_dir / "nexusd.sock"),
            pid=os.getpid(),
        )
    )


def run(config: Config, *, ready: Callable[[ReadyInfo], None]) -> int:
    import structlog

    from nexusd.host.ports import HostError

    with lockfile.hold(config.data_dir):
        match sys.argv[0]:
            case "good":
                stop = []
                signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
                signal.signal(signal.SIGINT, lambda *_: stop.append(1))
                _ready(config, ready)
                structlog.get_logger("nexusd.fake").info("serving", session=os.getsid(0), parent=os.getppid())
                while not stop:
                    time.sleep(0.01)
                return 0
            case "bug":
                raise RuntimeError("a bug, and hunter2")
            case "host":
                raise ExceptionGroup("nursery", [HostError("Port 4001 is in use: choose another with --port")])
            case "mixed":
                raise ExceptionGroup("nursery", [HostError("the network is down"), ZeroDivisionError("x")])
            case "oserror":
                raise PermissionError(13, "Permission denied", "/data/x")
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                time.sleep(60)
            case "early":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
    return 3


def main() -> None:
    module = types.ModuleType("nexusd.app")
    module.run = run  # type: ignore[attr-defined]  # a module made by hand
    sys.modules["nexusd.app"] = module
    import nexusd

    nexusd.app = module  # type: ignore[attr-defined]  # as an import would
    if "NEXUSD_TEST_START_SECONDS" in os.environ:
        from nexusd import detach

        detach.start.__kwdefaults__["timeout"] = float(os.environ["NEXUSD_TEST_START_SECONDS"])
    sys.argv = sys.argv[1:]
    from nexusd.__main__ import main

    main()


if __name__ == "__main__":
    main()
