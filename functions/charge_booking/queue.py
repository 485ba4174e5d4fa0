"""The queue between offers and charges: SQS messages in, a charge each, and word of those to send again.

A message is `{"campaign_id", "offer_id"}`. Delivered twice it is harmless, lost it is sent again by reconcile.
"""

import logging
from typing import Any

from pydantic import ValidationError

from functions.charge_booking.schemas import ChargeRequest
from functions.shared import charging, database, logs, metrics
from functions.shared.clock import Deadline
from functions.shared.problems import Problem
from functions.shared.states import BookingStatus
from functions.shared.stripe_gateway import gateway


def handle_records(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Charge each message of an SQS event; answers the ids of those that SQS is to deliver again.

    Source of the shape: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    logs.set_up()
    deadline = Deadline.of_lambda(context)
    with metrics.invocation("charge-queue"):
        failed = [record["messageId"] for record in event["Records"] if not _handled(record, deadline)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _handled(record: dict[str, Any], deadline: Deadline) -> bool:
    message_id = record["messageId"]
    try:
        request = ChargeRequest.model_validate_json(record["body"])
    except ValidationError:
        # Never fit to be charged: it goes to the dead-letter queue, where somebody looks at it.
        logs.log(logging.ERROR, "a message is no charge request", message_id=message_id)
        return False
    with logs.bound(request_id=message_id, campaign_id=str(request.campaign_id), offer_id=request.offer_id):
        try:
            charged = charging.charge(
                database.as_function("charge_booking", message_id),
                gateway(),
                deadline,
                campaign_id=request.campaign_id,
                offer_id=request.offer_id,
                user_id=None,
            )
        except Problem as problem:
            logs.log(logging.WARNING, "could not be charged", code=problem.code)
            return False
        except Exception:  # noqa: BLE001 - one bad message must not send the whole batch again
            logs.logger.exception("unexpected error")
            metrics.add("ServerErrors")
            return False
    # A charge whose outcome nobody knows yet is delivered again, and then asked for under its own key.
    return bool(charged["result"] == "refused" or charged["booking"]["status"] != BookingStatus.CHARGING)
