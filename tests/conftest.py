"""How many examples property tests try: `make check` passes `--hypothesis-profile=quick`, everything else tries all."""

from __future__ import annotations

from hypothesis import settings

# without a deadline for one example: two cores are shared with the rest of the run
settings.register_profile("full", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile("full")
