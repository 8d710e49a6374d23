"""`python -m bench.provider DATA_DIR`: serves `echo` and `stream` at a daemon until it is killed."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator

from nexusd.client import Nexus
from nexusd.client.serving import Call


def echo(call: Call) -> str:
    """The input."""
    value: str = call.value()
    return value


def stream(call: Call) -> Iterator[str]:
    """As many events of such a size as the input asks for."""
    ask = json.loads(call.value())
    data = "x" * ask["bytes"]
    for _ in range(ask["events"]):
        yield data


def main() -> None:
    """Print `ready` once both can be called."""
    logging.basicConfig(level=logging.WARNING)
    nexus = Nexus.connect(data_dir=sys.argv[1])
    threads = []
    for handler in (echo, stream):
        ready = threading.Event()
        options = {"max_concurrent": 32, "ready": ready.set}
        thread = threading.Thread(target=nexus.serve, args=(handler.__name__, handler), kwargs=options)
        thread.start()
        ready.wait()
        threads.append(thread)
    print("ready", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
