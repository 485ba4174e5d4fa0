"""Whole processes killed under load, once each: nothing acknowledged is lost, and both sides' books agree."""

from typing import Any

import psutil
import pytest

from local.faults.checker import Snapshot
from local.faults.process.acknowledged import Record, losses
from local.faults.process.run import run

EMPTY = Snapshot({name: [] for name in ("offers", "matches", "bookings", "refunds", "campaigns")}, {}, None, None)  # type: ignore[arg-type]  # nobody asks it for the time


def test_every_disaster_once() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    report = run(0.0, travellers=3, calm_seconds=0.6, patience_seconds=0.5, seed=5)

    kinds = {"postgres killed", "gateway killed", "queue killed", "stripe stalled"}
    assert {disaster.kind for disaster in report.disasters} == kinds | ({"disk full"} if report.has_volume else set())
    assert report.breaches == []
    assert report.losses == []
    assert report.promises > 20
    assert report.bookings["confirmed"] > 5
    assert sum(disaster.failures for disaster in report.disasters) > 0, "nobody noticed any of it"
    left = {process.pid for process in psutil.Process().children(recursive=True)} - before
    assert left == set()


@pytest.fixture
def record() -> Record:
    """What callers wrote down: one of each."""
    record = Record()
    record.posted([{"id": "offer-1", "amount_minor": 500}], {"offers": [{"id": "offer-1", "campaigns": ["c1"]}]})
    record.made("campaigns", "c1")
    record.shown({"id": "b1", "campaign_id": "c1", "offer_id": "offer-1", "status": "confirmed"})
    record.refunded("b1", "key", 100)
    return record


def kept() -> Snapshot:
    """A database that has it all."""
    rows: dict[str, list[dict[str, Any]]] = {
        "offers": [{"id": "offer-1", "amount_minor": 500}],
        "matches": [{"campaign_id": "c1", "offer_id": "offer-1"}],
        "campaigns": [{"id": "c1"}],
        "bookings": [{"id": "b1", "campaign_id": "c1", "offer_id": "offer-1", "status": "refunded"}],
        "refunds": [{"booking_id": "b1", "idempotency_key": "key", "amount_minor": 100}],
    }
    return Snapshot(rows, {}, None, EMPTY.now)


def test_what_was_acknowledged_and_kept_is_no_loss(record: Record) -> None:
    assert losses(record, kept()) == []


def test_everything_acknowledged_is_missed(record: Record) -> None:
    assert sorted(losses(record, EMPTY)) == [
        "booking b1 of ('c1', 'offer-1') was shown: gone",
        "campaign c1 was matched with offer offer-1: gone",
        "campaigns c1 was made: gone",
        "offer offer-1 of 500 was taken, the database has None",
        "refund of 100 of booking b1 was taken on, the database has none",
    ]


def test_a_booking_does_not_become_what_it_can_not_become(record: Record) -> None:
    snapshot = kept()
    snapshot.rows["bookings"][0]["status"] = "failed"
    assert losses(record, snapshot) == ["booking b1 was shown as confirmed and is failed"]


def test_an_offer_booked_twice_is_a_contradiction(record: Record) -> None:
    record.shown({"id": "b2", "campaign_id": "c1", "offer_id": "offer-1", "status": "confirmed"})
    assert losses(record, kept()) == ["('c1', 'offer-1') was first booking b1, then b2"]
