"""The judge can condemn: each thing that it looks at, put out of step, is found."""

import pytest

from nexusd.store import Store
from tests.crash import money
from tests.crash.scenes import Done, prepare_hour, put, receive, seal
from tests.harness.soundness import faults

LOG = [
    "UPDATE rooms SET messages = messages + 1",
    "UPDATE rooms SET bytes = bytes - 1",
    "UPDATE room_messages SET signed = x'00' WHERE position = 2",
    "UPDATE room_messages SET leads = 0 WHERE position = 2",
    "UPDATE room_items SET shown = 0 WHERE position = 2",
    "DELETE FROM room_items WHERE position = 2",
    "DELETE FROM room_messages WHERE position = 2",
    "DELETE FROM room_hours",
    "DELETE FROM room_spans",
    "UPDATE room_spans SET count = count + 1",
    "UPDATE room_spans SET sum = zeroblob(32)",
    "DELETE FROM room_words WHERE rowid = 2",
    "INSERT INTO room_words (rowid, log, content) VALUES (999, 'log1', 'nobody said it')",
    "UPDATE room_words SET log = 'log1', digest = 'other', content = 'text' WHERE rowid = 2",
    "DELETE FROM events WHERE ref = 2",
    "UPDATE room_batches SET cid = x'015512201111111111111111111111111111111111111111111111111111111111111111'",
]
BLOCKS = [
    "UPDATE block_data SET data = x'00' WHERE id = 1",
    "DELETE FROM block_data WHERE id = 1",
    "INSERT INTO block_data (data) VALUES (x'00')",
    "DELETE FROM block_links WHERE place = 0",
    "DELETE FROM blocks WHERE codec = 113",
]


BOOKS = [
    "UPDATE charge_sums SET owed = '1' WHERE payer = ''",
    "UPDATE charge_sums SET losses = losses + 1 WHERE payer <> ''",
    "DELETE FROM charge_sums",
    "INSERT INTO charge_sums VALUES (99, 'eip155:1/x', '', '1', 1, '0', 0, '0', 0)",
    "UPDATE charges SET amount = '1' WHERE position = 1",
    "UPDATE charges SET state = 'released' WHERE position = 1",
    "UPDATE charges SET delivered = 'nothing' WHERE position = 1",
    "DELETE FROM charge_results",
    "UPDATE charge_results SET data = x'00'",
    "INSERT INTO charge_results (charge, data) VALUES (999, x'00')",
    "UPDATE charges SET tx = '' WHERE state = 'submitted'",
    "UPDATE charges SET tx = '0x0' WHERE state = 'submitted'",
    "DELETE FROM settlement_charges",
    "DELETE FROM settlements",
    "UPDATE purchases SET key = ''",
    "UPDATE metering SET input_bytes = 0",
    "DELETE FROM metering",
]


@pytest.fixture
async def store(tmp_path):
    async with Store.open(tmp_path / "store.sqlite") as store:
        done: Done = {}
        await prepare_hour(store)
        await money.prepare_due(store)
        await money.prepare_purchases(store)
        for act in (receive, seal, put, money.settle, money.call):
            await act(store, done)
        assert not any(done.values())
        assert await faults(store) == []
        yield store


@pytest.mark.parametrize("change", LOG)
async def test_a_log_out_of_step_is_found(store, change) -> None:
    await store.database.write(lambda connection: connection.execute(change))
    assert await faults(store)


@pytest.mark.parametrize("change", BOOKS)
async def test_books_out_of_step_are_found(store, change) -> None:
    await store.database.write(lambda connection: connection.execute(change))
    assert await faults(store)


@pytest.mark.parametrize("change", BLOCKS)
async def test_blocks_out_of_step_are_found(store, change) -> None:
    await store.blocks.database.write(lambda connection: connection.execute(change))
    assert await faults(store)
