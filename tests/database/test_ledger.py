"""The campaign's money: totals are the ledger's sums, whatever happens in whatever order, and nothing is rewritten."""

import random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.support.books import DECLINES, PRICE_MINOR, Books, Json


@pytest.fixture
def books(db: psycopg.Connection) -> Books:
    """A user of the database."""
    return Books(db)


def confirmed(books: Books, campaign: Json | None = None) -> Json:
    """A booking that is paid: its step, with the PaymentIntent's id."""
    step = books.started(campaign)
    facts = books.facts(step, "succeeded")
    books.settle(facts, step["attempt_id"])
    return step | {"payment_intent_id": facts["payment_intent_id"]}


# --- single moves ----------------------------------------------------------------------------------------------------


def test_a_refund_gives_its_budget_back_and_a_failed_one_takes_it_again(books: Books) -> None:
    campaign = books.campaign(budget_minor=15_000)
    step = confirmed(books, campaign)
    assert books.begin(campaign, books.offer())["refusal"] == "over_budget"

    begun = books.call("begin_refund", p_booking_id=step["booking_id"])
    facts = {
        "refund_id": begun["next"]["refund_id"],
        "stripe_refund_id": f"re_{step['booking_id'].replace('-', '')}",
        "payment_intent_id": step["payment_intent_id"],
    }
    books.call("settle_refund", p_facts=facts | {"status": "succeeded"})
    assert books.booking(step)["status"] == "refunded"
    assert books.row("campaigns", campaign["id"])["spent_minor"] == 0
    second = confirmed(books, campaign)

    # The bank sends it back after its budget was used again: the books say so instead of refusing the truth.
    books.call("settle_refund", p_facts=facts | {"status": "failed", "failure_reason": "lost_or_stolen_card"})

    assert books.ledger(step) == [
        ("reserve", PRICE_MINOR),
        ("spend", PRICE_MINOR),
        ("refund", PRICE_MINOR),
        ("refund_reversed", PRICE_MINOR),
    ]
    shown = books.row("campaigns", campaign["id"])
    assert (shown["spent_minor"], shown["refund_reversed_minor"]) == (2 * PRICE_MINOR, PRICE_MINOR)
    assert [books.booking(each)["status"] for each in (step, second)] == ["confirmed"] * 2
    assert books.incidents(step) == ["refund_failed"]
    assert_sound(books)


def test_no_more_is_promised_than_the_budget_holds(books: Books) -> None:
    campaign = books.campaign(budget_minor=35_999)
    books.started(campaign)
    books.started(campaign)

    assert books.begin(campaign, books.offer())["refusal"] == "over_budget"
    assert books.row("campaigns", campaign["id"])["reserved_minor"] == 2 * PRICE_MINOR


def test_the_table_itself_refuses_to_promise_more_than_the_budget(books: Books) -> None:
    """Even a fault in the functions could not: the last lock is a constraint."""
    campaign = books.campaign(budget_minor=15_000)
    step = books.started(campaign)

    with pytest.raises(errors.CheckViolation, match="campaigns_within_budget"):
        books.insert(
            "ledger_entries",
            campaign_id=campaign["id"],
            booking_id=step["booking_id"],
            kind="refund_reversed",
            refund_id=books.insert(
                "refunds",
                booking_id=step["booking_id"],
                user_id=books.user_id,
                amount_minor=1,
                currency="eur",
                reason="test",
            )["id"],
            amount_minor=1,
        ) and books.db.execute(
            "update public.campaigns set refund_reversed_minor = 0, spent_minor = 15000 where id = %s",
            [campaign["id"]],
        )


def test_a_booking_reserves_and_spends_once(books: Books) -> None:
    step = confirmed(books)
    campaign_id = books.booking(step)["campaign_id"]

    for kind in ("reserve", "spend"):
        with pytest.raises(errors.UniqueViolation):
            books.insert(
                "ledger_entries",
                campaign_id=campaign_id,
                booking_id=step["booking_id"],
                kind=kind,
                amount_minor=1,
            )


@pytest.mark.parametrize(
    "statement", ["update public.ledger_entries set amount_minor = 1", "delete from public.ledger_entries"]
)
def test_an_entry_is_never_rewritten(books: Books, statement: str) -> None:
    step = books.started()

    with pytest.raises(errors.InsufficientPrivilege, match="never changed or deleted"):
        books.db.execute(f"{statement} where booking_id = %s".encode(), [step["booking_id"]])
    with pytest.raises(errors.InsufficientPrivilege, match="never changed or deleted"):
        books.db.execute("truncate public.ledger_entries")

    assert books.ledger(step) == [("reserve", PRICE_MINOR)]


# --- random sequences ------------------------------------------------------------------------------------------------

STATUSES = (
    "succeeded",
    "requires_capture",
    "canceled",
    "processing",
    "requires_action",
    "absent",
    "unknown",
    *DECLINES,
)
Move = tuple[Any, ...]


def random_moves(seed: int, count: int) -> list[Move]:
    """Moves in which everything happens about as often as it can matter: most news of payments lead nowhere.

    From a seed, because hypothesis likes its lists uniform, and hardly one of those gets beyond its first charge.
    """
    dice = random.Random(seed)

    def move() -> Move:
        booking = dice.randrange(3)
        kind = dice.choices(
            ["settle", "refund", "settle_refund", "time passes", "begin", "cancel", "capture", "void", "resume"],
            [12, 3, 3, 3, 1, 1, 2, 1, 2],
        )[0]
        match kind:
            case "settle":
                usual = ["succeeded", "requires_capture", "canceled"] * 3
                return (kind, booking, dice.choice([*STATUSES, *usual]), dice.random() < 0.5)
            case "refund" | "capture":
                return (kind, booking, dice.choice([None, 1, 5_000]))
            case "settle_refund":
                return (kind, booking, dice.choice(["pending", "succeeded", "failed", "canceled"]))
            case "resume":
                return (kind,)
            case _:
                return (kind, booking)

    return [move() for _ in range(count)]


class Player:
    """Plays moves on three offers of one campaign, as any caller and any late event might."""

    def __init__(self, db: psycopg.Connection, capture: str, *, backups: bool) -> None:
        self.books = Books(db)
        self.books.card()
        self.books.card()
        self.campaign = self.books.campaign(
            capture=capture, use_backups=backups, budget_minor=2 * PRICE_MINOR + 100, max_bookings=2
        )
        self.offers = [self.books.offer() for _ in range(3)]
        self.ends: dict[str, str] = {}

    def play(self, move: Move) -> None:
        """One move. A problem is an answer; every other error is a fault of ours."""
        kind, *rest = move
        moves: dict[str, Any] = {
            "begin": self.begin,
            "settle": self.settle,
            "cancel": lambda booking: self.ask("begin_cancel", booking, p_user_id=self.books.user_id),
            "capture": lambda booking, amount: self.ask("begin_capture", booking, p_amount_minor=amount),
            "void": lambda booking: self.ask("begin_void", booking),
            "refund": lambda booking, amount: self.ask("begin_refund", booking, p_amount_minor=amount),
            "settle_refund": self.settle_refund,
            "time passes": self.time_passes,
            "resume": self.resume,
        }
        try:
            moves[kind](*rest)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("PT"):
                raise

    def row(self, place: int) -> Json | None:
        """The booking of an offer, if there is one."""
        found = self.books.values(
            "select to_jsonb(b) from public.bookings as b where b.offer_id = %s", self.offers[place]["id"]
        )
        return found[0] if found else None

    def begin(self, place: int) -> None:
        self.books.begin(self.campaign, self.offers[place])

    def ask(self, function: str, place: int, **arguments: Any) -> None:
        booking = self.row(place)
        if booking is not None:
            self.books.call(function, p_booking_id=booking["id"], **arguments)

    def settle(self, place: int, status: str, as_answer: bool) -> None:
        booking = self.row(place)
        if booking is None:
            return
        open_attempt = self.books.values(
            "select jsonb_build_object('id', a.id, 'card', p.stripe_payment_method_id) from public.attempts as a "
            "inner join public.payment_methods as p on a.payment_method_id = p.id "
            "where a.booking_id = %s order by a.ordinal desc limit 1",
            booking["id"],
        )[0]
        step = {
            "booking_id": booking["id"],
            "payment_intent_id": booking["stripe_payment_intent_id"],
            "stripe_payment_method_id": open_attempt["card"],
        }
        facts = self.books.declined(step, status) if status in DECLINES else self.books.facts(step, status)
        if status == "absent":
            facts["payment_intent_id"] = booking["stripe_payment_intent_id"]
        if status == "succeeded" and booking["capture_amount_minor"]:
            facts["amount_received_minor"] = booking["capture_amount_minor"]
        self.books.settle(facts, open_attempt["id"] if as_answer else None)

    def settle_refund(self, place: int, status: str) -> None:
        booking = self.row(place)
        refunds = booking and self.books.values(
            "select id::text from public.refunds where booking_id = %s order by created_at desc limit 1", booking["id"]
        )
        if booking and refunds:
            facts = {
                "refund_id": refunds[0],
                "stripe_refund_id": f"re_{refunds[0].replace('-', '')}",
                "payment_intent_id": booking["stripe_payment_intent_id"],
                "status": status,
            }
            self.books.call("settle_refund", p_facts=facts)

    def time_passes(self, place: int) -> None:
        booking = self.row(place)
        if booking is not None:
            self.books.db.execute(
                "update public.bookings set leased_until = null, retry_at = retry_at - interval '20 days', "
                "action_expires_at = action_expires_at - interval '20 days' where id = %s",
                [booking["id"]],
            )
            self.begin(place)

    def resume(self) -> None:
        self.books.db.execute(
            "update public.campaigns set status = 'active', pause_reason = null where id = %s and status = 'paused'",
            [self.campaign["id"]],
        )

    def assert_ends_are_ends(self) -> None:
        """Money that was taken stays taken until it is refunded; what is dead stays dead."""
        for booking_id, status in self.books.values(
            "select id::text, status::text from public.bookings where user_id = %s", self.books.user_id
        ):
            before = self.ends.get(booking_id)
            if before in ("confirmed", "refunded"):
                assert status in ("confirmed", "refunded")
            elif before in ("failed", "cancelled"):
                assert status == before
            self.ends[booking_id] = status


@settings(
    max_examples=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    capture=st.sampled_from(["automatic", "manual"]),
    backups=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
)
def test_the_books_are_sound_after_any_sequence(
    db: psycopg.Connection, capture: str, backups: bool, seed: int, count: int
) -> None:
    player = Player(db, capture, backups=backups)
    for place in range(3):
        player.begin(place)
    for move in random_moves(seed, count):
        note(move)
        player.play(move)
        assert_sound(player.books)
        player.assert_ends_are_ends()


_TOTALS = """
select
  c.reserved_minor, c.spent_minor, c.budget_minor + c.refund_reversed_minor, c.max_bookings, c.bookings_in_flight,
  c.bookings_confirmed,
  (
    select coalesce(sum(case l.kind when 'reserve' then l.amount_minor when 'release' then -l.amount_minor
      when 'spend' then -l.amount_minor else 0 end), 0)::bigint
    from public.ledger_entries as l where l.campaign_id = c.id
  ),
  (
    select coalesce(sum(case l.kind when 'spend' then l.amount_minor when 'refund' then -l.amount_minor
      when 'refund_reversed' then l.amount_minor else 0 end), 0)::bigint
    from public.ledger_entries as l where l.campaign_id = c.id
  ),
  (
    select count(*) from public.bookings as b
    where b.campaign_id = c.id and b.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized')
  ),
  (select count(*) from public.bookings as b where b.campaign_id = c.id and b.status = 'confirmed')
from public.campaigns as c
where c.user_id = %s
"""
_OPEN_ATTEMPTS_OF_ENDED_BOOKINGS = """
select b.id
from public.bookings as b
inner join public.attempts as a on b.id = a.booking_id
where
  b.user_id = %s
  and b.status in ('confirmed', 'refunded', 'failed', 'cancelled')
  and a.status in ('started', 'processing', 'requires_action', 'authorized')
"""
_PROMISES = """
select b.status::text, sum(case l.kind when 'reserve' then l.amount_minor else -l.amount_minor end)
from public.bookings as b
inner join public.ledger_entries as l on b.id = l.booking_id
where b.user_id = %s and l.kind in ('reserve', 'release', 'spend')
group by b.id
having (sum(case l.kind when 'reserve' then l.amount_minor else -l.amount_minor end) <> 0)
  <> (b.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized'))
"""


def assert_sound(books: Books) -> None:
    """Totals, counters, attempts and ends of every campaign of the user agree with each other."""
    for row in books.values(_TOTALS, books.user_id):
        reserved, spent, limit, most, in_flight, done, reserved_sum, spent_sum, in_flight_count, done_count = row
        assert (reserved, spent) == (reserved_sum, spent_sum)
        assert (in_flight, done) == (in_flight_count, done_count)
        assert 0 <= reserved + spent <= limit
        assert in_flight + done <= most
    assert books.values(_OPEN_ATTEMPTS_OF_ENDED_BOOKINGS, books.user_id) == []
    # Budget is promised exactly as long as a booking is in flight.
    assert books.values(_PROMISES, books.user_id) == []
