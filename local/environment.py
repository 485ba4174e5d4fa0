"""Which project a command by hand works on: the environment's, or else the local stack that is running."""

import json
import os
import sys
from pathlib import Path
from typing import Any

STACK_FILE = Path(__file__).resolve().parent.parent / ".local" / "stack.json"


def of_stack(stack: dict[str, Any]) -> dict[str, str]:
    """The settings of functions for the stack that a stack.json describes."""
    return {
        "SUPABASE_URL": stack["supabase_url"],
        "SUPABASE_PUBLISHABLE_KEY": stack["publishable_key"],
        "SUPABASE_SECRET_KEY": stack["secret_key"],
        **stack["function_tokens"],
        "STRIPE_API_BASE": stack["stripe_url"],
        "STRIPE_SECRET_KEY": stack["stripe_secret_key"],
        "CHARGE_QUEUE_URL": stack["queue_url"],
        "AWS_ENDPOINT_URL_SQS": stack["queue_endpoint"],
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def choose() -> None:
    """Have the functions' settings in the environment. Exits with a sentence where there is nothing to choose."""
    if "SUPABASE_URL" not in os.environ:
        if not STACK_FILE.exists():
            sys.exit("Name a project by SUPABASE_URL and the functions' other settings, or start `make stack` first.")
        os.environ.update(of_stack(json.loads(STACK_FILE.read_text())))
    os.environ.setdefault("LOG_LEVEL", "CRITICAL")
