"""The documentation is true: links lead somewhere, the reference is current, examples compile, commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError, MissingArgumentError

from nexusd.__main__ import app as nexusd
from nexusd.cli import options
from nexusd.cli.main import build
from tools import reference

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "protocols", "bootstrap", "bench", "tests", "contrib", "tools")


def _installed(page: Path) -> bool:
    """Whether it came with a tool that some tests bring in."""
    return any(part == "node_modules" or part.startswith(".") for part in page.relative_to(ROOT).parts)


PAGES = sorted(
    [*ROOT.glob("*.md")]
    + [page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md") if not _installed(page)]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


pages = pytest.mark.parametrize("page", PAGES, ids=name)


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings, and those that are written out."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pages
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(other.read_text()), f"{target}: no such heading"


@pytest.mark.parametrize(("file", "make"), reference.pages().items())
def test_the_reference_is_current(file, make):
    assert (reference.FOLDER / file).read_text() == make(), "run: make docs"


def test_the_program_that_makes_the_reference_does_not_show_in_it(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/another program -m it"])
    assert reference.pages()["commands.md"]() == (reference.FOLDER / "commands.md").read_text()


@pages
def test_examples_compile(page):
    for language, code in FENCE.findall(page.read_text()):
        if language == "python":
            compile(code, name(page), "exec")


def typed(text: str) -> Iterator[tuple[str, bool]]:
    """The command lines of a page, and whether each is whole: blocks show what is typed, sentences may name a part."""
    for language, block in FENCE.findall(text):
        if language not in ("", "console"):
            continue
        prompted = re.search(r"^ *\$ ", block, re.MULTILINE) is not None
        for line in block.splitlines():
            if prompted and not line.lstrip().startswith("$ "):
                continue  # output
            # the README sets two terminals side by side
            for column in re.split(r" {2,}(?=nexus)", line.strip().removeprefix("$ ")):
                yield from ((command, True) for command in commands(column))
    for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        yield from ((command, False) for command in commands(span))


def commands(line: str) -> Iterator[str]:
    for part in re.split(r" [|;] | && ", line):
        if re.match(r"nexusd? \S", part.strip()):
            # `block|unblock` are two commands
            words = re.search(r"\w+(\|\w+)+", part)
            for word in words[0].split("|") if words else [""]:
                yield part.replace(words[0], word).strip() if words else part.strip()


@cache
def nexus() -> App:
    return build()


@cache  # the same commands are on many pages
def check(command: str, *, whole: bool) -> None:
    command = re.sub(r"<[^>]*>", "9fKq2LmX", command)
    program, *words = shlex.split(re.sub(r"\s>>? .*", "", command), comments=True)
    app: App = nexusd if program == "nexusd" else nexus()
    if program == "nexus":
        words = options.split(words)[1]
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except MissingArgumentError:
        assert not whole, f"{command}: something is missing"
    except CycloptsError as error:
        raise AssertionError(f"{command}: {error}") from None


USAGE = {"docs/reference/commands.md"}
"""Usage lines are no commands."""
NOT_TYPED = {"nexusd agent proof 1"}


@pages
def test_commands_exist(page):
    if name(page) in USAGE:
        return
    for command, whole in typed(page.read_text()):
        if command not in NOT_TYPED:
            check(command, whole=whole)


def test_commands_are_found():
    found = [command for page in PAGES if name(page) not in USAGE for command, _ in typed(page.read_text())]
    assert len(found) > 100
    for wrong in ("nexus room sned general hi", "nexus room join", "nexus peers --ful", "nexusd run --port http"):
        with pytest.raises(AssertionError):
            check(wrong, whole=True)
