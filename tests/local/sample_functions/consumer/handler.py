"""A queue's consumer: it has no use for messages that say `bad`."""

from typing import Any


def queue_handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Report the bad ones."""
    bad = [record["messageId"] for record in event["Records"] if record["body"].startswith("bad")]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in bad]}
