"""Capabilities served by a command: real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
import trio

from nexusd.services.capabilities.command import STDERR_TAIL_BYTES, Command
from nexusd.services.capabilities.ports import CallFailed
from nexusd_protocols.rpc.schema import CommandSpec
from tests.harness.incoming import FakeIncoming


def python(code: str, tmp_path: Path, *, jsonl: bool = False) -> Command:
    return Command(CommandSpec(argv=[sys.executable, "-c", code], cwd=str(tmp_path), jsonl=jsonl))


async def test_stdin_is_the_input_and_stdout_the_output(tmp_path: Path) -> None:
    call = FakeIncoming("make ", "me loud", stream=False)
    await Command(CommandSpec(argv=["tr", "a-z", "A-Z"], cwd=str(tmp_path))).call(call)
    assert call.emitted == [("result", "MAKE ME LOUD")]


async def test_json_input_reaches_stdin_as_json(tmp_path: Path) -> None:
    call = FakeIncoming({"to": 5}, stream=False, input_format="application/json")
    await Command(CommandSpec(argv=["cat"], cwd=str(tmp_path))).call(call)
    assert call.emitted == [("result", '{"to":5}')]


async def test_streaming_output_comes_as_it_appears(tmp_path: Path) -> None:
    call = FakeIncoming("go", final=False)
    code = "import sys; sys.stdout.write('first\\n'); sys.stdout.flush(); sys.stdin.read(); print('last')"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(python(code, tmp_path).call, call)
        with trio.fail_after(20):
            await call.some.wait()
        assert call.emitted == [("partial", "first\n")]  # though the input has not ended
        nursery.cancel_scope.cancel()


async def test_where_output_is_counted_it_comes_as_it_appears_whoever_wants_it_whole(tmp_path: Path) -> None:
    code = "import sys\nfor text in ('one ', 'two'):\n sys.stdout.write(text); sys.stdout.flush(); sys.stdin.readline()"
    call = FakeIncoming("go", stream=False, final=False, unit="chunk")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(python(code, tmp_path).call, call)
        with trio.fail_after(20):
            await call.some.wait()
        assert call.emitted == [("partial", "one ")]
        nursery.cancel_scope.cancel()


async def test_characters_are_not_cut(tmp_path: Path) -> None:
    call = FakeIncoming()
    code = (
        "import sys, time\nfor byte in 'ä€🎈'.encode():\n"
        " sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush(); time.sleep(0.005)"
    )
    await python(code, tmp_path).call(call)
    assert call.text() == "ä€🎈"


async def test_output_that_is_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await python("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", tmp_path).call(FakeIncoming())
    assert caught.group_contains(CallFailed, match="BAD_OUTPUT")


async def test_each_line_is_an_event(tmp_path: Path) -> None:
    call = FakeIncoming()
    lines = ["1", '{"a": [2]}', '{"event": "progress", "data": 0.5}', "", '"end"']
    code = f"import sys; sys.stdout.write({chr(10).join(lines)!r})"
    await python(code, tmp_path, jsonl=True).call(call)
    assert call.emitted == [("partial", 1), ("partial", {"a": [2]}), ("progress", 0.5), ("partial", "end")]


@pytest.mark.parametrize("line", ["not json", "NaN", "[" * 10_000 + "]" * 10_000])
async def test_a_line_that_is_not_json_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await python(f"print({line!r})", tmp_path, jsonl=True).call(FakeIncoming())
    assert caught.group_contains(CallFailed, match="BAD_OUTPUT")


async def test_a_failing_command_tells_the_end_of_its_stderr(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('x' * 100_000 + 'the reason'); sys.exit(3)"
    with pytest.raises(CallFailed, match="exit status 3") as caught:
        await python(code, tmp_path).call(FakeIncoming())
    assert caught.value.code == "COMMAND_FAILED"
    assert caught.value.message.endswith("the reason")
    assert len(caught.value.message) <= STDERR_TAIL_BYTES + 100


async def test_a_killed_command_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="SIGKILL"):
        await python("import os; os.kill(os.getpid(), 9)", tmp_path).call(FakeIncoming())


async def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="COMMAND_NOT_FOUND"):
        await Command(CommandSpec(argv=["no-such-command-here"], cwd=str(tmp_path))).call(FakeIncoming())


async def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="COMMAND_NOT_FOUND"):
        await Command(CommandSpec(argv=["cat"], cwd=str(tmp_path / "gone"))).call(FakeIncoming())


async def test_a_command_that_ignores_its_input(tmp_path: Path) -> None:
    call = FakeIncoming(*["x" * 60_000] * 20)
    await python("print('done')", tmp_path).call(call)
    assert call.text() == "done\n"


async def test_input_is_never_an_argument(tmp_path: Path) -> None:
    call = FakeIncoming("; touch injected; $(touch injected)")
    await Command(CommandSpec(argv=["sh", "-c", "cat"], cwd=str(tmp_path))).call(call)
    assert not (tmp_path / "injected").exists()


async def test_cancelling_ends_the_whole_process_group(tmp_path: Path) -> None:
    """A child that the command started, and that ignores TERM, is gone too."""
    code = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN);"
        ' print("up", flush=True); time.sleep(600)\'], stdout=subprocess.PIPE)\n'
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    call = FakeIncoming(final=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(python(code, tmp_path).call, call)
        with trio.fail_after(30):
            await call.some.wait()
        child = int(call.text())
        assert psutil.pid_exists(child)
        nursery.cancel_scope.cancel()
    with trio.fail_after(20):  # the kernel needs a moment to carry out a KILL
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            await trio.sleep(0.01)


async def test_a_child_left_behind_does_not_hold_the_call(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL); print('done')"
    call = FakeIncoming()
    with trio.fail_after(20):
        await python(code, tmp_path).call(call)
    assert call.text() == "done\n"


async def test_no_descriptors_leak(tmp_path: Path) -> None:
    command = python("print('x')", tmp_path)
    await command.call(FakeIncoming())
    before = psutil.Process().num_fds()
    for _ in range(10):
        await command.call(FakeIncoming("input"))
    assert psutil.Process().num_fds() == before


async def test_the_last_words_of_a_command_are_told_however_much_it_said(tmp_path: Path) -> None:
    """It ends as soon as the pipe took them: they are still to be read."""
    code = "import os; os.close(1); os.write(2, b'x' * 300_000 + b'THE END'); os._exit(3)"
    for _ in range(20):
        with pytest.raises(CallFailed, match="THE END"):
            await python(code, tmp_path).call(FakeIncoming())


@pytest.mark.slow
async def test_a_child_that_holds_stderr_open_does_not_hold_up_the_failure(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL); sys.exit('sorry')"
    with trio.fail_after(10), pytest.raises(CallFailed, match="sorry"):
        await python(code, tmp_path).call(FakeIncoming())
