"""Structured logs: one JSON object a line, with ids and codes, never a payload, a token or a person's data."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)
logger = logging.getLogger("autobook")
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


class _JsonFormatter(logging.Formatter):
    """Formats a record with the ids bound by `bound` and those passed as `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        entry |= _context.get() or {}
        entry |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            # The type and the place tell an engineer where to look; the text of an exception may quote a request.
            entry["error"] = record.exc_info[0].__qualname__
            trace = record.exc_info[2]
            frames = []
            while trace is not None:
                frames.append(f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}")
                trace = trace.tb_next
            entry["trace"] = frames[-8:]
        return json.dumps(entry, default=str)


def set_up() -> None:
    """Send the `autobook` logger to standard output as JSON, once; the level is LOG_LEVEL, INFO unless said."""
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(os.environ.get("LOG_LEVEL", "INFO").upper())
    logger.propagate = False
    # Mangum would log an exception's text, Stripe's SDK the path of each request.
    logging.getLogger("mangum").setLevel(logging.CRITICAL)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Within the block every log line carries these fields (ids and codes only)."""
    token = _context.set((_context.get() or {}) | fields)
    try:
        yield
    finally:
        _context.reset(token)


def log(level: int, message: str, **fields: Any) -> None:
    """Log a constant sentence with its ids and codes as fields."""
    logger.log(level, message, extra={"fields": fields})
