"""Layers of configuration: which one wins, what each value's origin is, and what is refused."""

import itertools
from pathlib import Path

import pytest

from nexusd import config
from nexusd.config import ConfigError, load
from tests.harness.nodes import signer

PEER = "12D3KooWGzXgmrTKSFDGPBW6V4xTRmAnfUEVGfsEM9Kqe1n4oFxT"
OTHER = "12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw"
DIAL = f"/ip4/192.168.1.5/tcp/4001/p2p/{PEER}"

# key: (flag, environment text, TOML text) and the value each of them means
EURC = "0x60a3E35Cc302bFA44Cb288Bc5a4F316Fdb1adb42"
LAYERS = {
    "port": ((1, 1), ("2", 2), ("3", 3), 0),
    "listen": (
        (("/ip4/1.1.1.1/tcp/1",), ("/ip4/1.1.1.1/tcp/1",)),
        ("/ip4/2.2.2.2/tcp/2,/ip6/::1/tcp/2/ws", ("/ip4/2.2.2.2/tcp/2", "/ip6/::1/tcp/2/ws")),
        ('["/ip4/3.3.3.3/tcp/3"]', ("/ip4/3.3.3.3/tcp/3",)),
        (),
    ),
    "loopback": ((True, True), ("yes", True), ("true", True), False),
    "bootstrap": (([DIAL], (DIAL,)), (f"{DIAL} {DIAL}", (DIAL, DIAL)), (f'["{DIAL}"]', (DIAL,)), ()),
    "relay": (([DIAL], (DIAL,)), (f"{DIAL} {DIAL}", (DIAL, DIAL)), (f'["{DIAL}"]', (DIAL,)), ()),
    "direct": (([DIAL], (DIAL,)), (f"{DIAL} {DIAL}", (DIAL, DIAL)), (f'["{DIAL}"]', (DIAL,)), ()),
    "mdns": ((False, False), ("off", False), ("false", False), True),
    "role": (("light", "light"), ("storage", "storage"), ('"light"', "light"), "full"),
    "log_level": (("debug", "debug"), ("warning", "warning"), ('"error"', "error"), "info"),
    "log_format": (("json", "json"), ("json", "json"), ('"json"', "json"), "text"),
    "agent_type": (("tool", "tool"), ("assistant", "assistant"), ('"infrastructure"', "infrastructure"), "autonomous"),
    "max_connections": ((4, 4), ("300", 300), ("64", 64), 128),
    "max_inbound": ((1, 1), ("300", 300), ("64", 64), 96),
    "max_per_address": ((1, 1), ("30", 30), ("64", 64), 8),
    "limit_loopback": ((True, True), ("yes", True), ("true", True), False),
    "deny_peers": (([PEER], (PEER,)), (f"{PEER},{OTHER}", (PEER, OTHER)), (f'["{OTHER}"]', (OTHER,)), ()),
    "allow_peers": (([PEER], (PEER,)), (f"{PEER},{OTHER}", (PEER, OTHER)), (f'["{OTHER}"]', (OTHER,)), ()),
    "deny_rooms": ((["spam*"], ("spam*",)), ("a, b-*", ("a", "b-*")), ('["*"]', ("*",)), ()),
    "allow_rooms": ((["spam*"], ("spam*",)), ("a, b-*", ("a", "b-*")), ('["x", "x"]', ("x",)), ()),
    "deny_capabilities": ((["x:y*"], ("x:y*",)), ("a, b-*", ("a", "b-*")), ('["*"]', ("*",)), ()),
    "metrics_listen": (
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]:9464", "[::1]:9464"),
        ('"127.5.5.5:65535"', "127.5.5.5:65535"),
        "",
    ),
    "metrics_public": ((True, True), ("yes", True), ("true", True), False),
    "storage_total": (("2GiB", 2 << 30), ("500 kb", 500_000), ('"1TB"', 10**12), 500 << 20),
    "storage_room": ((5, 5), ("0", 0), ("7", 7), 100 << 20),
    "room_log": (("64MiB", 64 << 20), ("1GB", 10**9), (2048, 2048), 1 << 30),
    "autopin": ((False, False), ("off", False), ("false", False), True),
    "free_calls": ((1, 1), ("90", 90), (3600, 3600), 60),
    "rpc_urls": (
        (["base=http://x"], ("base=http://x",)),
        ("base=https://x,eip155:10=http://y", ("base=https://x", "eip155:10=http://y")),
        ('["polygon=https://x"]', ("polygon=https://x",)),
        (),
    ),
    "tokens": (
        ((f"base/{EURC}/EURC/6/2/Euro Coin",), (f"base/{EURC}/EURC/6/2/Euro Coin",)),
        (
            f"base/{EURC}/EURC/6/2/EURC; eip155:10/{EURC}/X/18//a/b",
            (f"base/{EURC}/EURC/6/2/EURC", f"eip155:10/{EURC}/X/18//a/b"),
        ),
        (f'["base/{EURC}/EURC/6/2/EURC"]', (f"base/{EURC}/EURC/6/2/EURC",)),
        (),
    ),
    "accept_unbound": ((True, True), ("yes", True), ("true", True), False),
    "trust_peers": (([PEER], (PEER,)), (f"{PEER},{OTHER}", (PEER, OTHER)), (f'["{OTHER}"]', (OTHER,)), ()),
    "known_after": ((1, 1), ("1000", 1000), ("7", 7), 3),
    "tab_stranger": (("0", "0"), ("0.5", "0.5"), ('"0.25"', "0.25"), "0.05"),
    "tab_known": (("0", "0"), ("0.5", "0.5"), ('"2"', "2"), "1"),
    "tab_trusted": (("0", "0"), ("0.5", "0.5"), ('"20"', "20"), "5"),
    "exposure_stranger": (("0", "0"), ("0.75", "0.75"), ('"0.25"', "0.25"), "0.5"),
    "exposure_payer": (("1", "1"), ("0.5", "0.5"), ('"2.25"', "2.25"), "5"),
    "exposure_trusted": (("1", "1"), ("0.5", "0.5"), ('"50"', "50"), "20"),
    "exposure_total": (("1", "1"), ("0.5", "0.5"), ("20", "20"), "50"),
    "exposure_offline": (("0", "0"), ("0.5", "0.5"), ("0.25", "0.25"), "0.1"),
    "hold_above": (("1.5", "1.5"), ("0.5", "0.5"), ('"0"', "0"), "1"),
    "key_material_messages": (("block", "block"), ("redact", "redact"), ('"allow"', "allow"), "ask"),
    "key_material_calls": (("block", "block"), ("redact", "redact"), ('"ask"', "ask"), "allow"),
    "hold_strangers": ((False, False), ("off", False), ("false", False), True),
    "allow_capabilities": ((["x:y*"], ("x:y*",)), ("a, b-*", ("a", "b-*")), ('["*"]', ("*",)), ()),
}


@pytest.fixture
def environment(tmp_path):
    return {"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path / "home")}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nexusd" / "default" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_every_setting_of_the_file_is_in_the_table():
    assert {*LAYERS, "wallet_password_file"} == {setting.key for setting in config.SETTINGS if setting.in_file}


def test_the_file_of_the_password_is_found_from_wherever_the_daemon_runs(environment, file, tmp_path):
    file.write_text('wallet_password_file = "secrets/wallet"\n')
    assert load({}, environment, cwd=tmp_path).wallet_password_file == file.parent / "secrets" / "wallet"
    assert load({"wallet_password_file": Path("near")}, environment, cwd=tmp_path).wallet_password_file == (
        tmp_path / "near"
    )
    assert load({}, {**environment, "NEXUS_WALLET_PASSWORD_FILE": "/w"}, cwd=tmp_path).wallet_password_file == Path(
        "/w"
    )


def test_keys_in_the_addresses_of_nodes_are_not_told(environment):
    urls = ["base=https://user:SECRET@a.example/v2/SECRET", "polygon=http://b.example?key=SECRET", "ethereum=http://c"]
    found = load({"rpc_urls": urls}, environment)
    (row,) = [row for row in found.values() if row.key == "rpc_urls"]
    assert row.value == ["base=https://a.example/…", "polygon=http://b.example/…", "ethereum=http://c"]
    assert found.rpc_urls == tuple(urls)
    for wrong in (
        ["SECRET"],
        ["base=http://"],
        ["moon=http://x"],
        ["base=ftp://x"],
        ["base=http://[x"],
        [*urls, *urls],
    ):
        with pytest.raises(ConfigError) as caught:
            load({"rpc_urls": wrong}, environment)
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        ["base"],
        [f"moon/{EURC}/EURC/6/2/EURC"],
        [f"base/{EURC.lower()[:-1]}/EURC/6/2/EURC"],
        [f"base/{EURC.replace('C', 'c')}/EURC/6/2/EURC"],  # a typing error, by the capitals of EIP-55
        [f"base/{EURC}/EURe/6/2/EURC"],
        [f"base/{EURC}/EUR C/6/2/EURC"],
        [f"base/{EURC}/EURC/-6/2/EURC"],
        [f"base/{EURC}/EURC/99/2/EURC"],
        [f"base/{EURC}/EURC/6/2/"],
        [f"base/{EURC}/USDC/6/2/EURC"],  # that is another one there
        [f"base/{EURC}/A/6/2/EURC", f"base/{EURC}/B/6/2/EURC"],
        ["base/0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913/USDC/6/2/USDC"],  # known, by its right name
        [f"eip155:{n}/{EURC}/EURC/6/2/EURC" for n in range(1, 99)],
        [7],
        "base",
    ],
)
def test_what_is_no_token_or_another_one_is_refused(environment, wrong):
    with pytest.raises(ConfigError, match="tokens"):
        load({"tokens": wrong}, environment)


@pytest.mark.parametrize("key", LAYERS)
@pytest.mark.parametrize("present", list(itertools.product([True, False], repeat=3)))
def test_flags_over_environment_over_file_over_defaults(key, present, environment, file):
    flag, variable, line, default = LAYERS[key]
    flags = {key: flag[0]} if present[0] else {key: None}
    if present[1]:
        environment[f"NEXUS_{key.upper()}"] = variable[0]
    file.write_text(f"{key} = {line[0]}\n" if present[2] else "")
    found = load(flags, environment)
    name = ("--no-" if flag[1] is False else "--") + key.replace("_", "-")
    expected = (
        (flag[1], f"flag {name}")
        if present[0]
        else (variable[1], f"environment NEXUS_{key.upper()}")
        if present[1]
        else (line[1], f"file {file}")
        if present[2]
        else (default, "default")
    )
    shown = {value.key: value for value in found.values()}[key]
    assert (getattr(found, key), shown.origin) == expected
    assert shown.value == (list(expected[0]) if isinstance(expected[0], tuple) else expected[0])


def test_values_shows_every_setting_in_order(environment):
    found = load({}, environment)
    assert [value.key for value in found.values()] == [setting.key for setting in config.SETTINGS]
    assert {value.origin for value in found.values()} == {"default"}


def test_an_empty_variable_counts_as_not_set(environment):
    assert load({}, {**environment, "NEXUS_PORT": "", "NEXUS_NAME": ""}).port == 0


def test_variables_of_other_programs_are_left_alone(environment):
    load({}, {**environment, "NEXUS_REPOSITORY_URL": "https://example.org"})


# --- which profile ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("flags", "variables", "name", "data_dir"),
    [
        ({}, {}, "default", "{home}/nexusd/default"),
        ({"name": "bob"}, {}, "bob", "{home}/nexusd/bob"),
        ({}, {"NEXUS_NAME": "bob"}, "bob", "{home}/nexusd/bob"),
        ({"name": "carol"}, {"NEXUS_NAME": "bob"}, "carol", "{home}/nexusd/carol"),
        ({"data_dir": Path("/data/alice")}, {}, "alice", "/data/alice"),
        ({}, {"NEXUS_DATA_DIR": "/data/alice"}, "alice", "/data/alice"),
        ({"name": "bob"}, {"NEXUS_DATA_DIR": "/data/alice"}, "bob", "/data/alice"),
        ({"data_dir": Path("rel")}, {}, "rel", "{home}/rel"),
        ({"data_dir": Path("/data/not a name")}, {}, "default", "/data/not a name"),
        ({"data_dir": Path("/data/x/../alice/")}, {}, "alice", "/data/alice"),
    ],
)
def test_name_and_data_directory_follow_from_one_another(tmp_path, environment, flags, variables, name, data_dir):
    found = load(flags, {**environment, **variables}, cwd=tmp_path)
    assert (found.name, str(found.data_dir)) == (name, data_dir.format(home=tmp_path))


def test_origin_of_a_name_that_follows(environment):
    shown = {value.key: value.origin for value in load({"data_dir": "/data/alice"}, environment).values()}
    assert (shown["data_dir"], shown["name"]) == ("flag --data-dir", "flag --data-dir")
    shown = {value.key: value.origin for value in load({}, {**environment, "NEXUS_NAME": "bob"}).values()}
    assert (shown["data_dir"], shown["name"]) == ("environment NEXUS_NAME", "environment NEXUS_NAME")


# --- the file ---------------------------------------------------------------------------------------------------------
def test_a_named_file_replaces_the_usual_one(tmp_path, environment, file):
    file.write_text('role = "light"\n')
    other = tmp_path / "other.toml"
    other.write_text("port = 5000\n")
    found = load({"config": other}, environment)
    assert (found.port, found.role, found.config) == (5000, "full", other)
    assert load({}, {**environment, "NEXUS_CONFIG": str(other)}).port == 5000


def test_a_named_file_must_exist(environment, tmp_path):
    with pytest.raises(ConfigError, match=r"There is no configuration file .*/none.toml"):
        load({"config": tmp_path / "none.toml"}, environment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", r"Unknown key prot in {file}: did you mean port\?"),
        ("log-level = 'info'", r"Unknown key log-level in {file}: did you mean log_level\?"),
        ("zzz = 1", r"Unknown key zzz in {file}: the keys are port, listen, "),
        ("[network]\nport = 1", r"Unknown key network in {file}"),
        ("name = 'bob'", r"name in {file}: it says where that file is; give it as --name"),
        ("data_dir = '/x'", r"data_dir in {file}: .*--data-dir"),
        ("port = '4001'", r"port = '4001' \(file {file}\): expected a whole number from 0"),
        ("port = true", r"port = True \(file {file}\): expected a whole number"),
        ("port = 65536", r"port = 65536 \(file {file}\): expected a whole number"),
        ("port = -1", r"port = -1"),
        ("port = 1.0", r"port = 1.0"),
        ("mdns = 'yes'", r"mdns = 'yes' \(file {file}\): expected true or false"),
        ("mdns = 1", r"mdns = 1 "),
        ("role = 'heavy'", r"role = 'heavy' \(file {file}\): expected one of light, full, storage"),
        ("role = ['light']", r"role = \['light'\]"),
        ("listen = '/ip4/1.1.1.1/tcp/1'", r"listen = '/ip4/1.1.1.1/tcp/1' .* expected a list of multiaddrs"),
        ("listen = [1]", r"listen = \[1\]"),
        ("listen = ['nonsense']", r"listen = \['nonsense'\]"),
        ("bootstrap = ['/ip4/1.1.1.1/tcp/1']", r"bootstrap = .*each with its peer id"),
        ("bootstrap = ['/ip4/1.1.1.1/tcp/1/p2p/12D3']", r"bootstrap = "),
        ("deny_peers = ['12D3']", r"deny_peers = \['12D3'\] \(file {file}\): expected a list of peer ids, each whole"),
        ("deny_peers = ['*']", r"expected a list of peer ids"),
        ("allow_peers = '" + PEER + "'", r"expected a list of peer ids"),
        ("deny_rooms = ['a b']", r"deny_rooms = \['a b'\] .* expected a list of room names such as general"),
        ("deny_rooms = ['a*b']", r"expected a list of room names"),
        ("deny_rooms = ['a**']", r"expected a list of room names"),
        ("deny_rooms = ['']", r"expected a list of room names"),
        ("allow_capabilities = [1]", r"expected a list of capability names"),
        ("deny_rooms = [" + "'x', " * 10_001 + "]", r"expected a list of room names"),
        ("log_level = 'loud'", r"expected one of debug, info, warning, error"),
        ("port = \n", r"The configuration file {file} is not TOML: .*line 1"),
        ("port = 1\nport = 2", r"is not TOML"),
        ("port = 1\x00", r"is not TOML"),
        ("role = '" + "x" * 500 + "'", "x…"),
    ],
)
def test_a_wrong_file_is_refused(environment, file, text, message):
    file.write_text(text)
    with pytest.raises(ConfigError, match=message.format(file=file)):
        load({}, environment)


def test_a_wrong_file_is_refused_even_where_a_flag_wins(environment, file):
    file.write_text("prot = 1")
    with pytest.raises(ConfigError, match="Unknown key prot"):
        load({"port": 2}, environment)


def test_a_file_of_bytes_is_refused(environment, file):
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load({}, environment)


def test_a_huge_file_is_refused(environment, file):
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="is over 1048576 bytes"):
        load({}, environment)


def test_deep_nesting_is_refused(environment, file):
    file.write_text("port = " + "[" * 100_000)
    with pytest.raises(ConfigError, match="is not TOML"):
        load({}, environment)


def test_a_file_that_cannot_be_read_is_refused(environment, file):
    file.mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load({}, environment)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NEXUS_PORT": "abc"}, r"port = 'abc' \(environment NEXUS_PORT\): expected a whole number"),
        ({"NEXUS_PORT": "99999"}, "NEXUS_PORT"),
        ({"NEXUS_PORT": "²"}, "NEXUS_PORT"),
        ({"NEXUS_MDNS": "perhaps"}, r"mdns = 'perhaps' \(environment NEXUS_MDNS\): expected true or false"),
        ({"NEXUS_NAME": "a/b"}, r"name = 'a/b' \(environment NEXUS_NAME\): expected another one: a profile's name is"),
        ({"NEXUS_LISTEN": "/ip4/1.1.1.1/tcp/1 x"}, "NEXUS_LISTEN"),
        ({"NEXUS_ROLE": "Full"}, "NEXUS_ROLE"),
    ],
)
def test_a_wrong_variable_is_refused(environment, variables, message):
    with pytest.raises(ConfigError, match=message):
        load({}, {**environment, **variables})


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "yes", "on"])
def test_words_for_yes(environment, word):
    assert load({}, {**environment, "NEXUS_LOOPBACK": word}).loopback


@pytest.mark.parametrize("extra", [{"port": 4001}, {"loopback": True}])
def test_listen_replaces_what_is_for_the_default_addresses(environment, extra):
    with pytest.raises(ConfigError, match=r"\(flag --.*\) is for the default addresses and listen"):
        load({"listen": ("/ip4/1.1.1.1/tcp/1",), **extra}, environment)


def test_listening_as_somebody_is_refused(environment):
    with pytest.raises(ConfigError, match="listen"):
        load({"listen": (DIAL,)}, environment)


@pytest.mark.parametrize("named", ["bootstrap", "direct"])
@pytest.mark.parametrize(("key", "listed"), [("deny_peers", PEER), ("allow_peers", OTHER)])
def test_who_is_dialled_must_not_be_refused(environment, named, key, listed):
    with pytest.raises(ConfigError, match=rf"{named} \(flag --{named}\) names {PEER}, which {key} \(flag --.*\) ref"):
        load({named: [DIAL], key: [listed]}, environment)
    assert getattr(load({named: [DIAL], "allow_peers": [OTHER, PEER]}, environment), named) == (DIAL,)


def test_direct_peers_are_counted_by_peer_and_not_by_address(environment):
    peers = [f"/ip4/1.1.1.1/tcp/1/p2p/{signer(str(number)).peer_id}" for number in range(65)]
    everywhere = [DIAL.replace("4001", str(port)) for port in range(1, 100)]
    assert len(load({"direct": peers[:64]}, environment).direct) == 64
    assert len(load({"direct": everywhere}, environment).direct) == 99
    with pytest.raises(ConfigError, match=r"direct = .*at most 64 peers"):
        load({"direct": peers}, environment)
    with pytest.raises(ConfigError, match=r"direct = .*each with its peer id"):
        load({"direct": ["/ip4/1.1.1.1/tcp/1"]}, environment)


@pytest.mark.parametrize(
    "text", ["9464", ":9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9464", "[::1]:x"]
)
def test_metrics_want_an_address_and_a_port(text, environment):
    with pytest.raises(ConfigError, match="an IP address and a port"):
        load({"metrics_listen": text}, environment)


@pytest.mark.parametrize("text", ["0.0.0.0:9464", "[::]:9464", "192.168.1.5:9464"])
def test_metrics_are_not_shown_to_others_by_mistake(text, environment):
    with pytest.raises(ConfigError, match="metrics_public"):
        load({"metrics_listen": text}, environment)
    assert load({"metrics_listen": text, "metrics_public": True}, environment).metrics_listen == text
