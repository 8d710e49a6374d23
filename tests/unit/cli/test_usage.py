"""Wrong use, errors and their envelope, the common options, and how a run ends."""

import json
import re

import pytest
from msgspec.structs import replace

from nexusd.cli import main, options, session
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.codes import CODES, Refusal
from tests.harness.examples import first
from tests.harness.scripted import Reply
from tests.unit.cli.answers import STATUS


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["rom"], "nexus has no command 'rom'", "did you mean `nexus room`?"),
        (["qqqq"], "nexus has no command 'qqqq'", "see `nexus --help`"),
        (["room", "sned"], "nexus room has no command 'sned'", "did you mean `nexus room send`?"),
        (["peers", "blok", "x"], "nexus peers has no command 'blok'", "did you mean `nexus peers block`?"),
        (["peers", "--conected"], "nexus peers has no option --conected", "did you mean `nexus peers --connected`?"),
        (
            ["status", "extra"],
            "nexus status takes no more, and 'extra' is left",
            "see `nexus status --help`; what has spaces in it goes in quotes",
        ),
        (["dm", "send"], "nexus dm send needs PEER", "see `nexus dm send --help`"),
        (["connect"], "nexus connect needs ADDRESS", "see `nexus connect --help`"),
        (
            ["room", "history", "x", "--limit", "many"],
            'Invalid value for --limit: unable to convert "many" into int',
            "see `nexus room history --help`",
        ),
        (
            ["room", "history", "x", "--limit", "0"],
            'Invalid value "0" for --limit. It is from 1 to 500',
            "see `nexus room history --help`",
        ),
        (
            ["dm", "list", "--limit", "501"],
            'Invalid value "501" for --limit. It is from 1 to 500',
            "see `nexus dm list --help`",
        ),
        (["dm", "list", "--peer"], "--peer needs a value", "write it as --peer VALUE; see `nexus dm list --help`"),
        (
            ["room", "send", "x", "--frmat", "y"],
            "nexus room send has no option --frmat",
            "did you mean `nexus room send --format`?",
        ),
        (
            ["room", "send", "x", "-hi"],
            "nexus room send has no option -hi",
            "see `nexus room send --help`; text that begins with a dash goes behind `--`",
        ),
        (
            ["room", "send", "x", "--reply-to", "-", "y", "--format", "-"],
            'Invalid value "-" for --format. Choose from: "text/plain", "text/markdown", "application/json"',
            "see `nexus room send --help`",
        ),
        (
            ["room", "search", "x"],
            "there are no words to find",
            "write them behind the room: `nexus room search ROOM WORD…`",
        ),
        (["content", "put", ""], "the path is empty", "give a file or a directory; . is the one you are in"),
        (["profile", "set"], "there is nothing to set", "give --display-name, --description or --agent-type"),
        (
            ["rpc", "node.status", "{"],
            "the parameters are not JSON: Input data was truncated",
            "write them as '{\"key\": …}'",
        ),
        (["rpc", "node.status", "[]"], "the parameters must be a JSON object", "write them as '{\"key\": …}'"),
        (
            ["completion", "tcl"],
            'Invalid value "tcl" for SHELL. Choose from: "bash", "zsh", "fish"',
            "see `nexus completion --help`",
        ),
        (["--name"], "--name needs a value", "write it as --name VALUE"),
        (["status", "--data-dir="], "--data-dir needs a value", "write it as --data-dir VALUE"),
        (["--name", "--"], "--name needs a value", "write it as --name VALUE"),
    ],
)
def test_wrong_use(nexus, home, args, message, hint):
    ran = nexus(*args)
    assert ran.code == 1
    assert (ran.error["code"], ran.error["message"], ran.error["try"]) == ("usage", message, hint)
    assert ran.err == f"nexus: {message}\n  {hint}\n"
    on_terminal = nexus(*args, tty=True)
    assert (on_terminal.code, on_terminal.out, on_terminal.err) == (1, "", ran.err)
    as_json = nexus("--json", *args, tty=True)
    assert (as_json.out, as_json.err) == (ran.out, "")


@pytest.mark.parametrize("code", sorted(CODES.keys() - {"method_not_found"}))
def test_every_refusal_of_the_daemon(nexus, daemon, code):
    row = CODES[code]
    daemon.script["node.status"] = Refusal(code, "because \x1b[31mof this", data={"peers": ["a", "b"]})
    ran = nexus("status")
    assert ran.code == row.exit_code
    assert (ran.error["code"], ran.error["message"], ran.error["try"]) == (code, "because \x1b[31mof this", row.try_)
    assert ran.error["data"] == {"peers": ["a", "b"]}
    assert ran.err.startswith("nexus: because of this\n")
    assert ran.err.count("\n") == (1 if row.try_ == "see the message" else 2)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("method_not_found", "No method 'room.send'"),
        Refusal("invalid_params", "Object contains unknown field `references`"),
    ],
)
def test_a_daemon_that_is_older(nexus, daemon, refusal):
    daemon.script["room.send"] = refusal
    ran = nexus("room", "send", "lab", "hi", "--reference", "x")
    assert ran.error["code"] == refusal.code
    assert ran.error["message"] == f"The daemon that runs is older than this program: {refusal.detail}"
    assert ran.error["try"] == "restart it in this version: `nexus stop`, then `nexusd run --detach`"
    # whoever types parameters may have mistyped them, and methods that nobody has are not newer
    daemon.script["room.send"] = Refusal("invalid_params", "Object contains unknown field `rom`")
    assert nexus("rpc", "room.send", '{"room":"x","content":"x","rom":1}').error["message"].startswith("Object")
    assert "older" not in nexus("rpc", "room.sned", "{}").error["message"]


# --- which daemon -----------------------------------------------------------------------------------------------------
@pytest.fixture
def both(make_daemon):
    daemons = {name: make_daemon(name) for name in ("alice", "bob")}
    for name, daemon in daemons.items():
        daemon.script["node.status"] = replace(STATUS, name=name)
    return daemons


@pytest.mark.parametrize(
    "args",
    [
        ["--name", "bob", "status"],
        ["status", "--name", "bob"],
        ["status", "--name=bob"],
        ["-n", "bob", "status"],
        ["status", "-n", "bob"],
        ["--data-dir", "{home}/nexusd/bob", "status"],
        ["status", "--data-dir={home}/nexusd/bob"],
    ],
)
def test_the_daemon_meant(nexus, both, home, args):
    assert nexus(*(arg.format(home=home) for arg in args)).data["name"] == "bob"


@pytest.mark.parametrize("variables", [{"NEXUS_NAME": "bob"}, {"NEXUS_DATA_DIR": "{home}/nexusd/bob"}])
def test_the_daemon_that_the_environment_means(nexus, both, home, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=home))
    assert nexus("status").data["name"] == "bob"
    assert nexus("status", "--name", "alice").data["name"] == "alice"


def test_the_only_one_needs_no_name(nexus, daemon):
    daemon.script["node.status"] = STATUS
    assert nexus("status").data["name"] == "alice"


def test_several_are_listed(nexus, both):
    error = nexus("status").error
    assert "alice, bob" in error["message"]


def test_none_at_all(nexus, home):
    ran = nexus("status")
    assert (ran.code, ran.error["code"]) == (2, "daemon_unreachable")
    assert "data" not in ran.error
    assert ran.err == "nexus: No daemon is running\n  start one with `nexusd run --detach`\n"


def test_a_socket_that_mallory_could_have_put_there(nexus, home, tmp_path):
    data_dir = home / "nexusd" / "alice"
    data_dir.mkdir(parents=True)
    tmp_path.chmod(0o755)
    (data_dir / "socket").write_text(f"{tmp_path}/nexusd.sock\n")
    ran = nexus("status", "--name", "alice")
    assert ran.code == 1
    assert "not a private directory" in ran.error["message"]


@pytest.mark.parametrize(
    ("argv", "expected", "rest"),
    [
        (["a", "--json", "b"], options.Options(json=True), ["a", "b"]),
        (["a", "--", "--json", "-n", "x", "-"], options.Options(), ["a", "--", "--json", "-n", "x", "-"]),
        (["-n", "x", "-n", "y"], options.Options(name="y"), []),
        (["--name=a=b"], options.Options(name="a=b"), []),
        (["a", "-", "--jsonl"], options.Options(), ["a", options.STDIN, "--jsonl"]),
    ],
)
def test_split(argv, expected, rest):
    assert options.split(argv) == (expected, rest)


def test_split_refuses_an_option_without_a_value():
    with pytest.raises(UsageError, match="-n needs a value"):
        options.split(["status", "-n"])


# --- without a daemon -------------------------------------------------------------------------------------------------
def test_config_show_without_a_daemon_is_what_one_would_use(nexus, home, monkeypatch):
    monkeypatch.setenv("NEXUS_PORT", "4001")
    ran = nexus("config", "show", "--origin", "--name", "carol")
    values = {value["key"]: (value["value"], value["origin"]) for value in ran.data["values"]}
    assert values["port"] == (4001, "environment NEXUS_PORT")
    assert values["name"] == ("carol", "flag --name")
    assert values["data_dir"] == (f"{home}/nexusd/carol", "flag --name")
    assert ran.err.startswith("no daemon is running")


def test_config_show_without_a_daemon_says_what_is_wrong(nexus, home, monkeypatch):
    monkeypatch.setenv("NEXUS_PORT", "many")
    assert nexus("config", "show").error["code"] == "invalid_config"


def test_version(nexus, home):
    assert nexus("version").data["version"].count(".") == 2
    assert nexus("version", tty=True).out.startswith("nexus ")
    assert nexus("--version").out.startswith("nexus ")


@pytest.mark.parametrize("shell", first(1, ["zsh", "bash", "fish"]))
def test_completion(nexus, home, shell):
    script = nexus("completion", shell).out
    if shell == "zsh":
        argument = next(line for line in script.splitlines() if "'1:A file, a directory with all" in line)
        assert argument.endswith(":_files' \\")
        assert re.search(r"'\*--output\[.*\]:output:_files'", script)
        assert "'1:A room that was joined.' \\\n" in script, "which is in no directory"
    for word in ("room", "watch", "capability", "data-dir", "json", "unblock"):
        assert word in script
    if shell == "bash":
        assert script.splitlines()[-1] == "complete -o bashdefault -o default -F _nexus nexus", (
            "files where no word fits"
        )


def commands(app, path=()):
    for name in app:
        if not name.startswith("-"):
            yield (*path, name)
            yield from commands(app[name], (*path, name))


@pytest.mark.parametrize("path", [(), *commands(main.build())], ids=" ".join)
def test_help(nexus, home, path):
    ran = nexus(*path, "--help")
    assert (ran.code, ran.err) == (0, "")
    text = " ".join(ran.out.split())
    assert f"Usage: nexus{' ' if path else ''}{' '.join(path)}" in text
    if "COMMAND" not in text.split("Usage:")[1][:80]:
        assert f"Example: nexus {' '.join(path)}" in text, text


def test_a_bug_is_not_hidden(nexus, daemon, monkeypatch):
    def broken(self, method, **fields):
        raise ZeroDivisionError

    monkeypatch.setattr(session.Session, "call", broken)
    with pytest.raises(ZeroDivisionError):
        nexus("status")


def test_a_daemon_that_dies_while_it_is_asked(nexus, daemon):
    daemon.script["node.status"] = Reply(Refusal("busy"), hang_up=True)
    assert nexus("status").error["code"] == "busy"
    daemon.close()
    ran = nexus("status", "--name", "alice")
    assert (ran.code, ran.error["code"]) == (2, "daemon_unreachable")
    assert json.loads(ran.out)["error"]["exitCode"] == 2
