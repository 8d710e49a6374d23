"""Promises: gossipsub-v1.1 "Spam Protection Measures"."""

from __future__ import annotations

from nexusd_protocols.gossipsub.promises import Promises


def test_a_promise_is_broken_once():
    promises = Promises(10)
    promises.add(b"1", "bob", 3.0, "t")
    promises.add(b"1", "carol", 4.0, "t")
    assert promises.broken(2.9) == []
    assert promises.broken(3.0) == [("bob", "t")]
    assert promises.broken(3.0) == []
    assert promises.broken(4.0) == [("carol", "t")]
    assert len(promises) == 0


def test_the_message_frees_all_who_promised_it():
    promises = Promises(10)
    promises.add(b"1", "bob", 3.0, "t")
    promises.add(b"1", "carol", 3.0, "t")
    promises.add(b"2", "carol", 3.0, "t")
    promises.fulfil(b"1")
    promises.fulfil(b"unknown")
    assert promises.broken(5.0) == [("carol", "t")]


def test_a_second_promise_of_the_same_does_not_prolong_the_first():
    promises = Promises(10)
    promises.add(b"1", "bob", 3.0, "t")
    promises.add(b"1", "bob", 5.0, "t")
    assert promises.broken(3.0) == [("bob", "t")]
    assert promises.broken(5.0) == []


def test_a_promise_after_a_kept_one_stands_for_itself():
    promises = Promises(10)
    promises.add(b"1", "bob", 3.0, "t")
    promises.fulfil(b"1")
    promises.add(b"1", "bob", 5.0, "t")
    assert promises.broken(3.0) == []
    assert promises.broken(5.0) == [("bob", "t")]


def test_they_are_bounded():
    promises = Promises(2)
    for number in range(5):
        promises.add(bytes([number]), "bob", 3.0, "t")
    promises.add(b"\x01", "carol", 3.0, "t")
    assert len(promises) == 2
    assert promises.broken(3.0) == [("bob", "t"), ("bob", "t")]


def test_they_can_be_forgiven():
    promises = Promises(2)
    promises.add(b"1", "bob", 3.0, "t")
    promises.forgive()
    assert promises.broken(9.0) == []
