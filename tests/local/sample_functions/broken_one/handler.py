"""Raises at every request."""

from typing import Any

from mangum import Mangum
from starlette.applications import Starlette


class _Raising(Mangum):
    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        raise RuntimeError(f"a secret of {event['rawPath']}")


handler = _Raising(Starlette(), lifespan="off")
