"""The OpenRPC document: complete, deterministic, and without dangling references."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import BY_NUMBER, CODES, Refusal
from nexusd_protocols.rpc.openrpc import document, openrpc_document


def test_every_method_and_notification_is_in_it() -> None:
    names = [method["name"] for method in document()["methods"]]
    assert names == [*schema.METHODS, *schema.PROVIDER_METHODS, *schema.NOTIFICATIONS]
    result_free = {method["name"] for method in document()["methods"] if "result" not in method}
    assert result_free == set(schema.NOTIFICATIONS)


def test_it_is_the_same_each_time_and_json() -> None:
    assert json.dumps(document()) == json.dumps(document())
    assert msgspec.json.decode(msgspec.json.encode(openrpc_document())) == document()


def test_references_lead_somewhere() -> None:
    text = json.dumps(document())
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/([^"]+)"', text))
    assert references
    components = document()["components"]
    assert [ref for ref in sorted(references) if ref[1] not in components[ref[0]]] == []


@pytest.mark.parametrize("method", document()["methods"], ids=lambda method: method["name"])
def test_methods_say_what_they_do(method: dict[str, object]) -> None:
    assert method["summary"]
    assert method["description"]
    assert method["paramStructure"] == "by-name"


def test_parameters_say_whether_they_are_required() -> None:
    [send] = [method for method in document()["methods"] if method["name"] == "room.send"]
    required = {param["name"]: param["required"] for param in send["params"]}
    assert required == {
        "agent": False,
        "room": True,
        "content": True,
        "format": False,
        "replyTo": False,
        "threadId": False,
        "references": False,
        "anyway": False,
    }


def test_the_table_of_errors_has_no_number_twice() -> None:
    assert len(BY_NUMBER) == len(CODES)
    assert {row.exit_code for row in CODES.values()} == {1, 2}


def test_every_error_that_a_method_names_exists() -> None:
    assert [code for row in schema.METHODS.values() for code in row.errors if code not in CODES] == []


def test_a_refusal_shows_its_own_words_or_the_tables() -> None:
    assert Refusal("busy").message == CODES["busy"].message
    assert Refusal("busy", "wait").message == "wait"
    with pytest.raises(KeyError):
        _ = Refusal("no such code").row
