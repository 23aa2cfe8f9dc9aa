"""Mutations are never sent twice behind their caller's back; `make storm` runs more of them."""

import asyncio
import os
from pathlib import Path

import pytest
from hardship import CALM, PLACES, SEED, STORMED, Hardship, Place, each, hardship
from mutations import AT_ONCE, executed, mutate, recorded

from gqlwire.errors import OperationInterrupted, OperationTimeout, Phase
from servers.faults import Fault
from support import BOUND, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

COUNT = int(os.environ.get("GQLWIRE_STORM_MUTATIONS", "800"))
FAULTS = COUNT // 50

ANSWERING = [place for place in PLACES if place.answers_queries]


@pytest.mark.long
@pytest.mark.parametrize("place", STORMED, ids=str)
async def test_mutations_in_a_storm(place: Place, tmp_path: Path) -> None:
    """None is executed twice, what is interrupted is told to be, and all the others have run."""
    try:
        outcome = (await mutate(place, COUNT, FAULTS, tmp_path / "ledger")).judge()
        told = outcome.done, len(outcome.repeated), outcome.queries
        assert (COUNT + 2 * AT_ONCE, COUNT // 10, COUNT // 10) == told
        assert FAULTS == outcome.faults.total()
    except BaseException as error:
        error.add_note(f"GQLWIRE_STORM_SEED={SEED} GQLWIRE_STORM_MUTATIONS={COUNT} repeats it")
        raise


@pytest.mark.parametrize("place", each(ANSWERING))
async def test_a_mutation_that_was_not_written_waits_for_a_connection(
    place: Place, tmp_path: Path
) -> None:
    """Within its own time limit; after that it was never sent."""
    ledger = tmp_path / "ledger"
    async with hardship(place, ledger=ledger, **CALM) as here:
        here.server.kill()
        await until_lost(here)
        patient = asyncio.create_task(recorded(here, "patient", 30))
        now = asyncio.get_running_loop().time
        start = now()
        with pytest.raises(OperationTimeout, match="the mutation was not sent: there was no conn"):
            await recorded(here, "impatient", 0.2)
        assert 0.2 <= now() - start < 2
        assert not patient.done()
        here.server.restart()
        assert 1 == await patient
    assert {"patient": 1} == executed(ledger)


@pytest.mark.parametrize("place", each(ANSWERING))
async def test_a_mutation_that_was_written_is_interrupted(place: Place, tmp_path: Path) -> None:
    """The server has executed it, and its answer is lost. The error says so; nothing is sent."""
    ledger = tmp_path / "ledger"
    async with hardship(place, ledger=ledger, **CALM) as here:
        here.proxy.newest.tear()
        with pytest.raises(OperationInterrupted, match="may or may not have executed it") as caught:
            await recorded(here, "torn", 30)
        assert caught.value.maybe_executed
        assert 1006 == caught.value.code
        await here.session.wait_ready()
        # One connection carries what is sent in its order: a second "torn" would have come first.
        assert 1 == await recorded(here, "after", 30)
    assert {"torn": 1, "after": 1} == executed(ledger)


@pytest.mark.parametrize("place", each(ANSWERING))
async def test_an_idempotent_mutation_is_sent_again(place: Place, tmp_path: Path) -> None:
    """The caller allows it to run twice, and does not notice the drop."""
    ledger = tmp_path / "ledger"
    async with hardship(place, ledger=ledger, **CALM) as here:
        here.proxy.newest.tear()
        assert 2 == await recorded(here, "torn", 30, idempotent=True)
    assert {"torn": 2} == executed(ledger)


@pytest.mark.parametrize("place", each(ANSWERING))
async def test_a_mutation_that_waits_for_room_is_sent_once(place: Place, tmp_path: Path) -> None:
    """If it loses the socket, the next one sends it."""
    ledger = tmp_path / "ledger"
    async with hardship(place, ledger=ledger, **CALM) as here:
        here.proxy.strike(Fault.STALL, seconds=2)
        stuffing = asyncio.create_task(recorded(here, "x" * 20_000_000, 30))
        while not here.session._link.live.is_clogged:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(recorded(here, "waiting", 30))
        await asyncio.sleep(0)
        here.session.terminate()
        with pytest.raises(OperationInterrupted):
            await stuffing
        assert 1 == await waiting
    assert {"waiting": 1} == executed(ledger)


async def until_lost(here: Hardship) -> None:
    """Wait until the session has noticed."""
    async with asyncio.timeout(BOUND):
        while here.session.state is Phase.OPEN:
            await asyncio.sleep(0)
