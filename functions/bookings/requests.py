"""A request for a booking: commit the intention, take the step at Stripe, answer the booking as it is then."""

from typing import Any

from functions.shared import charging, database
from functions.shared.stripe_gateway import gateway
from functions.shared.web import Answer, Call


def carry_out(call: Call[Any, Any], function: str, **arguments: Any) -> Answer:
    """Run a begin_… function of SQL and what is due after it. Raises Problem.

    200 when Stripe's part is done, 202 when it is not known yet: reconcile goes on with it.
    """
    rows = database.as_function("bookings", call.request_id)
    begun: dict[str, Any] = rows.call(function, **arguments)
    taken = charging.take_steps(rows, gateway(), call.deadline, begun["next"])
    return Answer(200 if taken.at_rest else 202, taken.booking or begun["booking"])
