"""One target under atheris, in a process of its own: `python -m tests.fuzz.worker NAME SECONDS CRASH_FOLDER`.

libFuzzer ends the process when it finds something, and instruments code as it is imported: hence the process.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main(name: str, seconds: str, crashes: str) -> None:
    """Run until the time is over, or until something is found: then the exit code is not 0."""
    import atheris

    with atheris.instrument_imports(include=["nexusd_protocols", "nexusd_bootstrap", "nexusd"]):
        from tests.fuzz.inputs import load

        target = load(name)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / f"seed{number}").write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=10", "-rss_limit_mb=1024"]
        options += [f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, corpus], target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
