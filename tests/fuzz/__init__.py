"""Fuzz targets: a module for each parser of bytes from outside, run by `python -m tests.fuzz`.

A module has `SEEDS: list[bytes]`, inputs to begin with, and `target(data: bytes) -> None`, which takes anything and
raises nothing: the refusals that the parser documents are caught in it, and whatever else comes out is a finding. A
target may assert, too. Where the input has structure, the target cuts it out of the bytes itself.
"""
