"""Words find what is shown, and nothing else; nothing that is typed is an error of syntax."""

from contextlib import closing

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.store.room_log import SEARCH
from nexusd.store.room_search import SEARCH_CHARS, SEARCH_TERMS, match_in, search_terms
from nexusd.store.schema import Layout, migrate, shipped_migrations
from tests.unit.store.messages import HALL, LAB, edit, message, retract
from tests.unit.store.people import ALICE, ALICES_SECOND


async def found(store, query: str, **options) -> list[str]:
    return [row.content for row in (await store.log.search(ALICE, LAB, query, limit=20, **options)).rows]


async def say(store, *texts: str) -> None:
    rows = [(ALICE, message(number, content=text)) for number, text in enumerate(texts)]
    await store.log.append_many(rows, now=5)


async def test_all_words_must_be_there_in_any_order_case_and_accents(store) -> None:
    await say(store, "The naïve Robot sings", "robots sing", "naive robot", "größer als")
    assert await found(store, "ROBOT naïve") == ["The naïve Robot sings", "naive robot"]
    assert await found(store, "rob*") == ["The naïve Robot sings", "robots sing", "naive robot"]
    assert await found(store, '"naive robot"') == ["The naïve Robot sings", "naive robot"]
    assert await found(store, '"robot naive"') == []
    assert await found(store, "grosser") == []
    assert await found(store, "Größer") == ["größer als"]


async def test_signs_between_words_mean_what_they_mean_in_the_text(store) -> None:
    await say(store, "see foo-bar.txt (v2)", "foo and bar", "NEAR AND OR NOT", "it's 50% off")
    assert await found(store, "foo-bar.txt") == ["see foo-bar.txt (v2)"]
    assert await found(store, "foo bar") == ["see foo-bar.txt (v2)", "foo and bar"]
    assert await found(store, "(v2)") == ["see foo-bar.txt (v2)"]
    assert await found(store, "NOT near AND") == ["NEAR AND OR NOT"]
    assert await found(store, "it's") == ["it's 50% off"]
    assert await found(store, "foo -- bar !!!") == ["see foo-bar.txt (v2)", "foo and bar"]
    assert await found(store, "log : log1") == []


async def test_only_this_room_of_this_agent_is_searched(store) -> None:
    await store.log.append_many(
        [
            (ALICE, message(1, content="hello lab")),
            (ALICE, message(1, room=HALL, content="hello hall")),
            (ALICES_SECOND, message(1, content="hello second")),
        ],
        now=5,
    )
    assert await found(store, "hello") == ["hello lab"]
    assert await found(store, "hello", before=1) == []
    assert (await store.log.search(ALICES_SECOND, HALL, "hello", limit=5)).rows == []


async def test_the_new_text_of_an_edit_is_found_and_the_old_is_not(store) -> None:
    said = message(1, content="old words")
    await store.log.append_many([(ALICE, said), (ALICE, edit(2, said, "new words"))], now=5)
    assert await found(store, "old") == []
    assert await found(store, "new") == await found(store, "words") == ["new words"]
    await store.log.append(ALICE, edit(3, said, "newest"), now=6)
    assert await found(store, "words") == []
    assert await found(store, "newest") == ["newest"]


async def test_nothing_of_what_was_retracted_is_found(store) -> None:
    said = message(1, content="secret")
    await store.log.append_many([(ALICE, said), (ALICE, edit(2, said, "secret still"))], now=5)
    await store.log.append(ALICE, retract(3, said), now=6)
    assert await found(store, "secret") == []
    await store.log.append(ALICE, edit(4, said, "secret again"), now=7)
    assert await found(store, "secret") == []


async def test_a_message_that_comes_after_its_edit_or_retraction(store) -> None:
    one, two = message(1, content="first words"), message(2, content="second words")
    await store.log.append_many([(ALICE, edit(3, one, "edited")), (ALICE, retract(4, two))], now=5)
    await store.log.append_many([(ALICE, one), (ALICE, two)], now=6)
    assert await found(store, "words") == []
    assert await found(store, "edited") == ["edited"]


async def test_results_are_paged_from_the_newest(store) -> None:
    await say(store, *(f"hello {number}" for number in range(7)))
    page = await store.log.search(ALICE, LAB, "hello", limit=3)
    assert [row.content for row in page.rows] == ["hello 4", "hello 5", "hello 6"]
    assert page.more
    page = await store.log.search(ALICE, LAB, "hello", limit=30, before=page.rows[0].position)
    assert [row.content for row in page.rows] == ["hello 0", "hello 1", "hello 2", "hello 3"]
    assert not page.more


@pytest.mark.parametrize("query", ["", "   ", '""', '"', "!!! -- ()", "*", "\0"])
async def test_a_query_without_words_is_refused(store, query) -> None:
    with pytest.raises(ValueError, match="word"):
        await store.log.search(ALICE, LAB, query, limit=5)


def test_a_query_is_bounded() -> None:
    assert search_terms(" ".join(["w"] * SEARCH_TERMS))
    with pytest.raises(ValueError, match="words"):
        search_terms(" ".join(["w"] * (SEARCH_TERMS + 1)))
    with pytest.raises(ValueError, match="characters"):
        search_terms("w" * (SEARCH_CHARS + 1))


@pytest.fixture(scope="module")
def words():
    with closing(apsw.Connection(":memory:")) as connection:
        migrate(connection, 0, Layout(shipped_migrations()))
        yield connection


@given(query=st.one_of(st.text(max_size=40), st.text(alphabet="ab\"*-+^(){}:., \0'\\NEARORNOT", max_size=30)))
def test_nothing_that_is_typed_is_an_error_of_syntax(words, query) -> None:
    try:
        terms = search_terms(query)
    except ValueError:
        assert not any(character.isalnum() for character in query)
    else:
        assert words.execute(SEARCH, (match_in(1, terms), 9, 9)).fetchall() == []
