from __future__ import annotations

import pytest

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import Arrived, Fetch, Fetched, Heard, Left, Look, Send, Sent, Sized
from nexusd_protocols.bitswap.message import Kind, Message, Want
from nexusd_protocols.bitswap.server import Server
from nexusd_protocols.content.cid import Cid
from tests.harness.bitswap import Hosted, block, cid_of, data_of, wants
from tests.harness.people import ALICE, BOB, CAROL, MALLORY

ALICE, BOB, CAROL, MALLORY = (person.peer_id for person in (ALICE, BOB, CAROL, MALLORY))
LARGE = limits.BITSWAP_SMALL_BYTES + 1


def large(number: int):
    return block(number, LARGE)


@pytest.fixture
def host() -> Hosted:
    return Hosted()


def test_step_by_step():
    server = Server()
    assert server.handle(Heard(BOB, wants(cid_of(1), cid_of(2))), 0.0) == [Look(BOB, (cid_of(1), cid_of(2)))]
    assert server.handle(Sized(BOB, (32, None)), 0.0) == [Fetch(BOB, (cid_of(1),))]
    assert server.held == 32
    sent = Send(BOB, Message(blocks=(block(1),), lacks=(cid_of(2),)))
    assert server.handle(Fetched(BOB, (data_of(1),)), 0.0) == [sent]
    assert server.held == 32, "until the transport has taken it"
    assert server.handle(Sent(BOB), 0.0) == []
    assert (server.held, server.wants) == (0, 1), "what is not here may come"


def test_whoever_wants_to_know_is_told(host):
    host.put(large(1))
    assert host.hear(BOB, wants(large(1).cid, cid_of(2), kind=Kind.HAVE)) == [
        Message(haves=(large(1).cid,), lacks=(cid_of(2),))
    ]


def test_a_small_block_is_sent_instead_of_the_word_that_it_is_here(host):
    host.put(block(1, limits.BITSWAP_SMALL_BYTES))
    (answer,) = host.hear(BOB, wants(cid_of(1, limits.BITSWAP_SMALL_BYTES), kind=Kind.HAVE))
    assert answer == Message(blocks=(block(1, limits.BITSWAP_SMALL_BYTES),))


def test_whoever_wants_no_answer_gets_none(host):
    assert host.hear(BOB, wants(cid_of(1), answer=False)) == []
    host.put(block(1), tell=True)
    assert host.sent[BOB] == [Message(blocks=(block(1),))], "but the block, when it comes"


def test_a_block_goes_by_the_name_by_which_it_was_wanted(host):
    data = data_of(1)
    v1 = Cid.of(0x70, data)
    v0 = Cid(0x70, v1.digest, 0)
    host.blocks[v1.digest] = data
    (answer,) = host.hear(BOB, wants(v0))
    assert answer.blocks[0].cid == v0


def test_what_is_foreign_is_not_here(host):
    assert host.hear(BOB, Message(foreign=(b"\x01\x55\x13\x02hi",))) == [Message(foreign=(b"\x01\x55\x13\x02hi",))]


def test_wanted_again_is_sent_again(host):
    host.put(block(1))
    assert host.hear(BOB, wants(cid_of(1))) == host.hear(BOB, wants(cid_of(1))) == [Message(blocks=(block(1),))]


def test_what_comes_goes_to_all_who_wait_for_it(host):
    host.hear(BOB, wants(cid_of(1)))
    host.hear(CAROL, wants(cid_of(1), kind=Kind.HAVE))
    host.hear(ALICE, wants(cid_of(2)))
    host.put(block(1), tell=True)
    assert [host.sent[peer][-1].blocks for peer in (BOB, CAROL)] == [(block(1),)] * 2
    assert not host.sent[ALICE][-1].blocks


def test_a_full_list_and_cancels_are_obeyed(host):
    host.hear(BOB, wants(cid_of(1), cid_of(2), cid_of(3)))
    host.hear(BOB, Message(wants=(Want(cid_of(1), answer=False), Want(cid_of(2), answer=False)), full=True))
    host.hear(BOB, Message(cancels=(cid_of(1),)))
    before = len(host.sent[BOB])
    host.put(block(1), block(2), block(3), tell=True)
    assert [message.blocks for message in host.sent[BOB][before:]] == [(block(2),)]


def test_messages_are_bounded_and_hold_one_block_at_least(host):
    size = limits.BITSWAP_TURN_BYTES // 2
    blocks = [block(number, size) for number in range(5)] + [block(9, limits.BLOCK_BYTES)]
    host.put(*blocks)
    answers = host.hear(BOB, wants(*(each.cid for each in blocks)))
    assert [len(answer.blocks) for answer in answers] == [2, 2, 1, 1]
    assert [each for answer in answers for each in answer.blocks] == blocks


def test_many_wants_are_looked_up_in_turns(host):
    answers = host.hear(BOB, wants(*map(cid_of, range(200))))
    assert [len(answer.lacks) for answer in answers] == [64, 64, 64, 8]


def test_a_slow_reader_has_one_message_and_nothing_read_for_it_beyond(host):
    size = limits.BITSWAP_TURN_BYTES
    host.put(*(block(number, size) for number in range(50)))
    host.slow.add(MALLORY)
    host.hear(MALLORY, wants(*(cid_of(number, size) for number in range(50))))
    assert host.reads == [MALLORY]
    assert host.server.held == size
    host.take(MALLORY)
    assert host.reads == [MALLORY] * 2
    assert host.server.held == size


def test_slow_readers_stop_nobody():
    host = Hosted(Server(sending_bytes=1000))
    host.put(block(1, 800), block(2, 100), block(3, 600))
    host.slow |= {MALLORY, BOB}
    host.hear(MALLORY, wants(cid_of(1, 800)))
    host.hear(BOB, wants(cid_of(3, 600)))
    assert host.reads == [MALLORY], "there is no room for both"
    assert host.hear(CAROL, wants(cid_of(2, 100))) == [Message(blocks=(block(2, 100),))], "within her share"
    host.take(MALLORY)
    assert host.reads == [MALLORY, CAROL, BOB]
    host.leave(BOB)
    assert host.server.held == 0


def test_whoever_needs_much_is_not_overtaken_for_ever():
    host = Hosted(Server(sending_bytes=1000))
    host.put(block(1, 600), block(2, 900), block(3, 390))
    host.slow |= {MALLORY, BOB, CAROL}
    host.hear(MALLORY, wants(cid_of(1, 600)))
    host.hear(BOB, wants(cid_of(2, 900)))
    host.hear(CAROL, wants(cid_of(3, 390)))
    host.hear(ALICE, wants(cid_of(4)))  # so that the share of each is less than that
    assert host.reads == [MALLORY], "there would be room for carol, but bob came first"
    host.take(MALLORY)
    assert host.reads == [MALLORY, BOB]
    host.take(BOB)
    assert host.reads == [MALLORY, BOB, CAROL]


def test_even_the_largest_block_goes_where_it_alone_exceeds_the_room():
    host = Hosted(Server(sending_bytes=100))
    host.put(block(1, 500))
    assert host.hear(BOB, wants(cid_of(1, 500)))


def test_a_peer_that_left_is_forgotten(host):
    host.slow.add(BOB)
    host.put(block(1))
    host.hear(BOB, wants(cid_of(1), cid_of(2)))
    host.leave(BOB)
    assert (host.server.wants, host.server.held) == (0, 0)
    for late in (Sized(BOB, (1,)), Fetched(BOB, (b"",)), Sent(BOB), Left(BOB)):
        assert host.server.handle(late, 0.0) == []


def test_cancelled_while_it_is_looked_up_or_read():
    server = Server()
    server.handle(Heard(BOB, wants(cid_of(1), cid_of(2))), 0.0)
    server.handle(Heard(BOB, Message(cancels=(cid_of(1),))), 0.0)
    assert server.handle(Sized(BOB, (10, 10)), 0.0) == [Fetch(BOB, (cid_of(2),))]
    server.handle(Heard(BOB, Message(cancels=(cid_of(2),))), 0.0)
    assert server.handle(Fetched(BOB, (data_of(2),)), 0.0) == []
    assert (server.held, server.wants) == (0, 0)


def test_what_is_gone_when_it_is_read_is_not_here():
    server = Server()
    server.handle(Heard(BOB, wants(cid_of(1))), 0.0)
    server.handle(Sized(BOB, (10,)), 0.0)
    assert server.handle(Fetched(BOB, (None,)), 0.0) == [Send(BOB, Message(lacks=(cid_of(1),)))]
    assert server.held == 10
    server.handle(Sent(BOB), 0.0)
    assert server.held == 0


def test_a_block_over_the_bound_is_not_here():
    server = Server()
    server.handle(Heard(BOB, wants(cid_of(1))), 0.0)
    assert server.handle(Sized(BOB, (limits.BLOCK_BYTES + 1,)), 0.0) == [Send(BOB, Message(lacks=(cid_of(1),)))]


def test_wants_are_bounded_for_a_peer_and_for_all():
    server = Server(wants=40, peer_wants=20)
    for peer in (ALICE, BOB, CAROL):
        server.handle(Heard(peer, wants(*map(cid_of, range(50)))), 0.0)
    # the first two have what they may, the third its share of what there would be
    assert [len(server._peers[peer].ledger) for peer in (ALICE, BOB, CAROL)] == [20, 20, 13]


def test_cancels_of_a_stranger_leave_nothing():
    server = Server()
    assert server.handle(Heard(MALLORY, Message(cancels=(cid_of(1),))), 0.0) == []
    assert server.handle(Arrived((cid_of(1),)), 0.0) == []
    assert not server._peers
