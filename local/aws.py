"""Clients of AWS for commands by hand: they give up soon, and say so."""

import os
from typing import Any


def client(service: str) -> Any:
    """A client of the environment's account and region."""
    import boto3
    from botocore.config import Config

    return boto3.client(  # type: ignore[call-overload]  # one of a few names
        service,
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "eu-central-1",
        config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2}),
    )
