"""Whom a session asks for what, seen from outside: a client among providers on a virtual clock."""

from __future__ import annotations

from collections import Counter

import pytest

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import Ask, Broken, Close, Forget, Need
from nexusd_protocols.bitswap.message import Kind, Message
from nexusd_protocols.bitswap.session import STALL_SECONDS
from nexusd_protocols.errors import LocalProtocolError
from tests.harness.bitswap import Fetcher, Provider, block, cid_of

ALL = range(200)
CIDS = [cid_of(number) for number in ALL]


def asked(message: Message) -> list[tuple[str, int]]:
    return [(want.kind.name, CIDS.index(want.cid)) for want in message.wants]


def test_the_first_block_of_one_and_word_of_all():
    fetcher = Fetcher(alice=Provider(*ALL), bob=Provider(*ALL), carol=Provider())
    fetcher.need(CIDS[0])
    said = {name: asked(message) for name, message in fetcher.said}
    assert sorted(said.values()) == [[("BLOCK", 0)], [("HAVE", 0)], [("HAVE", 0)]]
    fetcher.run(count=1)
    assert list(fetcher.got) == [CIDS[0]]


def test_what_came_is_cancelled_with_the_others_and_not_with_who_sent_it():
    fetcher = Fetcher(alice=Provider(*ALL), bob=Provider(*ALL))
    fetcher.need(CIDS[0])
    fetcher.run(count=1)
    giver = fetcher.got[CIDS[0]]
    other = {"alice": "bob", "bob": "alice"}[giver]
    assert [(name, message) for name, message in fetcher.said if message.cancels] == [
        (other, Message(cancels=(CIDS[0],)))
    ]


def test_who_had_the_first_share_the_rest_and_nobody_else_is_asked():
    fetcher = Fetcher(alice=Provider(*ALL), bob=Provider(*ALL), carol=Provider())
    fetcher.fetch(CIDS)
    givers = Counter(fetcher.got.values())
    assert set(givers) == {"alice", "bob"}
    assert min(givers.values()) > 60, "both at work"
    assert len(fetcher.providers[fetcher.peer("carol")].wanted) == 0
    # carol heard of the blocks that were wanted before anybody had shown what it has
    assert sum(len(message.wants) for name, message in fetcher.said if name == "carol") <= limits.BITSWAP_UNDER_WAY


def test_two_are_faster_than_one_and_the_fast_brings_most():
    alone = Fetcher(alice=Provider(*ALL, gap=0.02)).fetch(CIDS)
    both = Fetcher(alice=Provider(*ALL, gap=0.02), bob=Provider(*ALL, gap=0.02)).fetch(CIDS)
    assert both < 0.6 * alone
    mixed = Fetcher(alice=Provider(*ALL, gap=0.005), bob=Provider(*ALL, gap=0.5))
    assert mixed.fetch(CIDS) < 200 * 0.005 + 2
    assert Counter(mixed.got.values())["alice"] > 180


def test_in_order_and_with_little_ahead_of_a_slow_peer():
    fetcher = Fetcher(alice=Provider(*ALL, gap=0.5))
    fetcher.need(*CIDS[:32])
    fetcher.run(count=8)
    assert list(fetcher.got) == CIDS[:8]
    assert len(fetcher.providers[fetcher.peer("alice")].asked) <= 8 + 2


def test_what_one_has_not_another_is_asked_for():
    fetcher = Fetcher(alice=Provider(*range(100)), bob=Provider(*range(100, 200)))
    fetcher.fetch(CIDS)
    assert list(map(fetcher.got.get, CIDS)) == ["alice"] * 100 + ["bob"] * 100
    assert not fetcher.charges


def test_what_nobody_has_is_missing_at_once():
    fetcher = Fetcher(alice=Provider(1), bob=Provider())
    fetcher.need(CIDS[0])
    assert fetcher.run(count=1) < 0.1
    assert fetcher.missing == [CIDS[0]]
    assert not any(provider.wanted for provider in fetcher.providers.values()), "and forgotten by all"


def test_where_nobody_is_to_be_asked_it_is_missing():
    fetcher = Fetcher()
    fetcher.need(CIDS[0])
    assert fetcher.missing == [CIDS[0]]


def test_one_that_is_added_is_asked():
    fetcher = Fetcher(alice=Provider(mute=True))
    fetcher.need(CIDS[0])
    bob = fetcher.peer("bob")
    fetcher.names[bob], fetcher.providers[bob] = "bob", Provider(0)
    fetcher.tell(Ask(fetcher.SESSION, (bob,)))
    assert fetcher.run(count=1) < 3
    assert fetcher.got == {CIDS[0]: "bob"}


@pytest.mark.parametrize("bad", [{"mute": True}, {"boasts": True}])
def test_who_sends_nothing_holds_up_little_and_is_left_out(bad):
    fetcher = Fetcher(mallory=Provider(**bad), alice=Provider(*ALL), bob=Provider(*ALL))
    assert fetcher.fetch(CIDS) < 4
    assert len(fetcher.got) == len(CIDS)
    assert len(fetcher.providers[fetcher.peer("mallory")].asked) <= 4
    assert fetcher.charges == ([("mallory", "late_block", 1)] if bad == {"boasts": True} else [])


def test_who_promised_and_stalls_twice_is_charged():
    fetcher = Fetcher(alice=Provider(), mallory=Provider(boasts=True))
    fetcher.need(CIDS[0])
    fetcher.run(until=STALL_SECONDS * 2)
    assert fetcher.charges == [("mallory", "late_block", 1)]
    fetcher.run(until=STALL_SECONDS * 8)
    assert fetcher.charges == [("mallory", "late_block", 1), ("mallory", "no_block", 5)]
    assert not fetcher.missing


def test_the_only_one_is_asked_again_and_again_and_never_left_out():
    provider = Provider(*ALL, mute=True)
    fetcher = Fetcher(alice=provider)
    fetcher.need(CIDS[0])
    assert fetcher.run(until=STALL_SECONDS * 8) > STALL_SECONDS * 3
    said = [asked(message) or message.cancels for _, message in fetcher.said]
    assert said[:5] == [[("BLOCK", 0)], (CIDS[0],), [("BLOCK", 0)], (CIDS[0],), [("BLOCK", 0)]]
    provider.mute = False
    fetcher.run(count=1)
    assert list(fetcher.got) == [CIDS[0]]
    assert not fetcher.charges


def test_one_that_was_late_is_good_again_when_it_sends():
    alice = Provider(*ALL, gap=3)
    fetcher = Fetcher(alice=alice, bob=Provider(*ALL, gap=0.2))
    fetcher.need(*CIDS[:2])
    fetcher.run()
    alice.gap = 0.001
    fetcher.fetch(CIDS[2:40])
    assert Counter(fetcher.got[cid] for cid in CIDS[2:40])["alice"] > 3
    assert fetcher.charges == [("alice", "late_block", 1)], "once"


def test_a_pause_of_all_of_them_costs_nobody_its_place():
    providers = {name: Provider(*ALL) for name in ("alice", "bob", "carol")}
    fetcher = Fetcher(**providers)
    fetcher.fetch(CIDS[:50])
    for provider in providers.values():
        provider.mute = True
    fetcher.need(*CIDS[50:60])
    fetcher.run(until=fetcher.now + STALL_SECONDS + 5)
    for provider in providers.values():
        provider.mute = False
    fetcher.run(count=60)
    assert len(fetcher.got) == 60
    assert len(set(fetcher.got.values())) == 3


def test_gone_midway():
    fetcher = Fetcher(alice=Provider(*ALL), bob=Provider(*ALL))
    fetcher.need(*CIDS[:32])
    fetcher.run(count=8)
    fetcher.leave("alice")
    fetcher.run(count=32)
    assert set(fetcher.got) == set(CIDS[:32])
    fetcher.leave("bob")
    fetcher.need(CIDS[40])
    assert fetcher.missing == [CIDS[40]]


def test_who_has_and_then_has_not_is_left_out_at_the_third_time():
    fetcher = Fetcher(mallory=Provider(), alice=Provider(*ALL, gap=0.1))
    mallory = fetcher.peer("mallory")
    fetcher.need(*CIDS[:4])
    for cid in CIDS[:4]:
        for message in (Message(haves=(cid,)), Message(lacks=(cid,))):
            fetcher.answer(mallory, message, 0.0005)
    fetcher.run(count=4)
    assert fetcher.charges == [("mallory", "false_have", 5)]
    assert len(fetcher.got) == 4


def test_a_block_of_whom_nobody_asked_costs_the_place_and_points():
    fetcher = Fetcher(mallory=Provider(*ALL, gap=1), alice=Provider(*ALL))
    fetcher.need(CIDS[0])
    fetcher.answer(fetcher.peer("mallory"), Message(blocks=(block(999),)), 0.0)
    fetcher.answer(fetcher.peer("mallory"), Message(blocks=tuple(map(block, range(900, 950)))), 0.0)
    fetcher.answer(fetcher.peer("mallory"), Message(strays=1), 0.0)
    assert fetcher.run(count=1) < 0.1
    assert fetcher.got == {CIDS[0]: "alice"}
    assert fetcher.charges == [
        ("mallory", "unasked_block", 10),
        ("mallory", "too_many_unasked_blocks", 100),
        ("mallory", "unasked_block", 10),
    ]
    assert fetcher.client.unasked == 52


def test_a_block_that_comes_late_is_no_offence():
    fetcher = Fetcher(alice=Provider(*ALL, gap=2), bob=Provider(*ALL, gap=2))
    fetcher.need(CIDS[0])
    fetcher.run()
    assert len(fetcher.got) == 1
    assert fetcher.client.duplicates == 1, "the second was asked when the first was late"
    assert not fetcher.charges


def test_a_want_that_is_forgotten_is_cancelled():
    fetcher = Fetcher(alice=Provider(mute=True))
    fetcher.need(CIDS[0])
    fetcher.tell(Forget(fetcher.SESSION, CIDS[0]))
    fetcher.tell(Forget(fetcher.SESSION, CIDS[0]))
    assert fetcher.said[1:] == [("alice", Message(cancels=(CIDS[0],)))]


def test_a_session_that_ends_cancels_all():
    fetcher = Fetcher(alice=Provider(mute=True))
    fetcher.need(*CIDS[:3])
    fetcher.tell(Close(fetcher.SESSION))
    assert not fetcher.providers[fetcher.peer("alice")].wanted
    with pytest.raises(LocalProtocolError):
        fetcher.tell(Need(fetcher.SESSION, CIDS[0]))


def test_what_was_lost_with_a_stream_is_said_again():
    fetcher = Fetcher(alice=Provider(mute=True))
    alice = fetcher.peer("alice")
    fetcher.tell(Broken(alice))
    fetcher.need(*CIDS[:2])
    before = len(fetcher.said)
    fetcher.tell(Broken(alice))
    ((_, message),) = fetcher.said[before:]
    assert message.full
    assert asked(message) == [("BLOCK", 0), ("BLOCK", 1)]


def test_so_many_at_once_and_no_more():
    fetcher = Fetcher(alice=Provider(mute=True))
    fetcher.need(*CIDS[: limits.BITSWAP_UNDER_WAY])
    fetcher.need(CIDS[0])
    with pytest.raises(LocalProtocolError):
        fetcher.need(CIDS[limits.BITSWAP_UNDER_WAY])


def test_word_of_a_small_block_may_be_the_block_itself():
    fetcher = Fetcher(alice=Provider(mute=True), bob=Provider(mute=True))
    fetcher.need(CIDS[0])
    (told,) = [name for name, message in fetcher.said if message.wants[0].kind is Kind.HAVE]
    fetcher.answer(fetcher.peer(told), Message(blocks=(block(0),)), 0.1)
    fetcher.run(count=1)
    assert fetcher.got == {CIDS[0]: told}
