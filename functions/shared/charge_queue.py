"""Sending charges to the queue. A message lost here is sent again by reconcile, from its waiting match."""

import json
import logging
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions.shared.logs import log
from functions.shared.settings import QueueSettings, read

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

BATCH = 10
"""The most that SQS takes in one call."""


@cache
def _sqs() -> "SQSClient":
    config = Config(
        connect_timeout=2,
        read_timeout=4,
        retries={"total_max_attempts": 3},
        user_agent="autobook",  # botocore makes its own anew for each request, which takes longer than signing it
    )
    return boto3.client("sqs", config=config)


def send_charges(pairs: list[tuple[str, str]]) -> int:
    """Queue a charge for each (campaign_id, offer_id); gives how many were taken. Never raises: the outbox holds."""
    sent = 0
    for start in range(0, len(pairs), BATCH):
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(place), "MessageBody": json.dumps({"campaign_id": campaign_id, "offer_id": offer_id})}
            for place, (campaign_id, offer_id) in enumerate(pairs[start : start + BATCH])
        ]
        try:
            answer: Any = _sqs().send_message_batch(QueueUrl=read(QueueSettings).charge_queue_url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            log(
                logging.ERROR,
                "the queue did not take charges",
                error=type(error).__name__,
                count=len(entries),
            )
            continue
        sent += len(answer.get("Successful", []))
        if answer.get("Failed"):
            log(logging.ERROR, "the queue did not take some charges", count=len(answer["Failed"]))
    return sent
