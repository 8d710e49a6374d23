"""The figures of docs/explanation/gossipsub.md.

python -m tests.sim.gossipsub [nodes]     the scenarios, as a table
python -m tests.sim.gossipsub scale FILE  the load of a node against the size of the network, as a table and a picture
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.sim.gossipsub.outcome import HEAD
from tests.sim.gossipsub.scale import SIZES, measure, plot
from tests.sim.gossipsub.scenarios import SCENARIOS, run


def _scenarios(nodes: int) -> None:
    print(HEAD)
    for scenario in SCENARIOS:
        began = time.process_time()
        print(run(scenario, nodes, scenario.section).row(scenario.name), flush=True)
        print(f"{scenario.name}: {time.process_time() - began:.1f} s of processor time", file=sys.stderr)


def _scale(picture: Path) -> None:
    print("| members | heard | copies of a message | RPCs a second | p99 ms |\n|--:|--:|--:|--:|--:|")
    loads = []
    for size in SIZES:
        load = measure(size, seed=size)
        loads.append(load)
        print(
            f"| {size:,} | {load.heard:.2%} | {load.copies:.2f} | {load.rpcs:.1f} | {load.p99:.0f} |",
            flush=True,
        )
    picture.write_text(plot(loads))


if sys.argv[1:2] == ["scale"]:
    _scale(Path(sys.argv[2]))
else:
    _scenarios(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
