"""The charge protocol: begin (commit), Stripe, settle (commit), until nothing is left to do or no time.

Each step comes from the database and names all that its Stripe call needs; each outcome goes back to the database,
which answers the next step. A crash between any two leaves a row from which `begin_charge` or reconcile goes on.
"""

import logging
from typing import Any, NamedTuple
from uuid import UUID

from functions.shared import metrics
from functions.shared.clock import Deadline
from functions.shared.database import Database, DatabaseUnavailable
from functions.shared.logs import log
from functions.shared.stripe_facts import Facts
from functions.shared.stripe_gateway import NotEnoughTime, StripeGateway

STRIPE_STEPS = ("charge", "look_up", "cancel", "capture", "refund")
"""What SQL's `internal.next_step` may ask for; anything else is nothing to do for us now."""
MOST_STEPS = 12
"""More than any chain of backup cards takes; a bound, so that a fault in SQL can't make us call Stripe for ever."""


def charge(
    database: Database,
    gateway: StripeGateway,
    deadline: Deadline,
    *,
    campaign_id: UUID,
    offer_id: str,
    user_id: UUID | None,
) -> dict[str, Any]:
    """Charge an offer for a campaign and give {result, refusal?, booking?}.

    `result` is begun, exists or refused; `user_id` restricts to that user's campaigns, None is a machine's call.
    Raises Problem (404 for what does not exist, 503 while nothing was begun).
    """
    begun: dict[str, Any] = database.call(
        "begin_charge",
        p_campaign_id=str(campaign_id),
        p_offer_id=offer_id,
        p_user_id=str(user_id) if user_id else None,
    )
    if begun["result"] != "refused":
        begun["booking"] = take_steps(database, gateway, deadline, begun["next"]).booking or begun["booking"]
    return begun


class Taken(NamedTuple):
    """The booking as last settled, None if it was not; and whether nothing is left to do at Stripe for now."""

    booking: dict[str, Any] | None
    at_rest: bool


def take_steps(database: Database, gateway: StripeGateway, deadline: Deadline, step: Facts) -> Taken:
    """Do what is to be done next, and next, for one booking.

    Raises nothing that Stripe or the database do: what could not be settled stays open, and somebody comes back to it.
    """
    booking: dict[str, Any] | None = None
    for _ in range(MOST_STEPS):
        if step["do"] not in STRIPE_STEPS:
            break
        try:
            settled = _take(database, gateway, deadline, step)
        except NotEnoughTime:
            log(
                logging.WARNING,
                "no time left for a Stripe call",
                booking_id=step["booking_id"],
                step=step["do"],
            )
            break
        except DatabaseUnavailable:
            log(
                logging.ERROR,
                "an outcome could not be committed",
                booking_id=step["booking_id"],
                step=step["do"],
            )
            break
        log(
            logging.INFO,
            "settled",
            booking_id=step["booking_id"],
            attempt_id=step.get("attempt_id"),
            step=step["do"],
            result=settled["result"],
        )
        booking = settled.get("booking") or booking
        metrics.payment_settled(settled["result"], (booking or {}).get("status"), step=step["do"])
        if settled.get("next") == step:
            break  # Stripe won't do it now (a payment that is processing can't be cancelled): reconcile asks again
        step = settled.get("next") or {"do": "nothing"}
    return Taken(booking, step["do"] == "nothing")


def _take(database: Database, gateway: StripeGateway, deadline: Deadline, step: Facts) -> dict[str, Any]:
    if step["do"] == "refund":
        facts = gateway.refund(step, deadline)
        return _commit(database, "settle_refund", p_facts=facts, p_take_next=True)
    steps = {
        "charge": gateway.charge,
        "look_up": gateway.look_up,
        "cancel": gateway.cancel,
        "capture": gateway.capture,
    }
    facts = steps[step["do"]](step, deadline)
    # An unknown outcome names nothing: what was asked for says whose it is, so that its lease is given back.
    facts = {name: step[name] for name in ("booking_id", "payment_intent_id") if step.get(name)} | facts
    return _commit(database, "settle_payment", p_facts=facts, p_attempt_id=step.get("attempt_id"), p_take_next=True)


def _commit(database: Database, function: str, **arguments: Any) -> dict[str, Any]:
    """Settling twice is settling once, so a database that was away for a moment is asked again."""
    try:
        settled: dict[str, Any] = database.call(function, **arguments)
    except DatabaseUnavailable:
        settled = database.call(function, **arguments)
    return settled
