from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.content import dag_pb
from nexusd_protocols.content.cid import DAG_PB, RAW, Cid
from nexusd_protocols.content.dag_pb import DagPbError, Link, Node

A = Cid.of(RAW, b"a")
LINK = b"\x0a\x24" + A.encode() + b"\x12\x01a\x18\x05"

links = st.builds(
    Link,
    st.builds(Cid.of, st.just(RAW), st.binary(max_size=3))
    | st.builds(Cid, st.just(DAG_PB), st.just(b"d" * 32), st.just(0)),
    st.text(max_size=8),
    st.integers(0, (1 << 64) - 1),
)


@given(st.lists(links, max_size=5), st.none() | st.binary(max_size=10))
def test_a_node_comes_back(some, data):
    assert dag_pb.decode(dag_pb.encode(some, data)) == Node(tuple(some), data)


@given(st.binary(max_size=80))
def test_what_is_read_has_one_encoding_with_the_data_behind_the_links_or_before(raw):
    try:
        node = dag_pb.decode(raw)
    except DagPbError:
        return
    # links without a name or a size are read as with an empty one
    assert dag_pb.decode(dag_pb.encode(node.links, node.data)) == node


def test_links_come_before_the_data():
    assert dag_pb.encode([Link(A, "a", 5)], b"d") == b"\x12\x2b" + LINK + b"\x0a\x01d"
    assert dag_pb.decode(b"\x0a\x01d\x12\x2b" + LINK) == Node((Link(A, "a", 5),), b"d")


def test_nothing_and_an_empty_nothing_differ():
    assert dag_pb.decode(b"") == Node((), None)
    assert dag_pb.decode(b"\x0a\x00") == Node((), b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"\x0a\x05d",
        b"\x0a\x01d\x0a\x01d",
        b"\x12\x2b" + LINK + b"\x0a\x01d\x12\x2b" + LINK,
        b"\x0a\x81\x00d",
        b"\x1a\x00",
        b"\x08\x00",
        b"\x12\x00",
        b"\x12\x04\x0a\x02\x01\x55",
        b"\x12\x2d" + LINK + b"\x20\x00",
        b"\x12\x2b" + LINK[38:] + LINK[:38],
        b"\x12\x29" + LINK[:38] + b"\x12\x01\xff",
    ],
    ids=[
        "no protobuf",
        "cut short",
        "data twice",
        "data between links",
        "a length longer than it needs to be",
        "an unknown field",
        "another type of field",
        "a link to nothing",
        "a link that is no CID",
        "an unknown field in a link",
        "fields of a link in another order",
        "a name that is not UTF-8",
    ],
)
def test_what_is_no_node(raw):
    with pytest.raises(DagPbError):
        dag_pb.decode(raw)
