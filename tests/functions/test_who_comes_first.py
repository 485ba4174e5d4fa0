"""Who is let in is decided before a body is looked at: a stranger learns nothing of what a route takes."""

import httpx
import pytest

from local.stack import LocalStack
from tests.support.http import refused

_ID = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/setup-intent", "unauthenticated"),
        ("POST", "/campaigns", "unauthenticated"),
        ("PATCH", f"/campaigns/{_ID}", "unauthenticated"),
        ("PATCH", f"/payment-methods/{_ID}", "unauthenticated"),
        ("POST", "/charge-booking", "unauthenticated"),
        ("POST", "/offers", "machine_signature_invalid"),
        ("POST", f"/bookings/{_ID}/capture", "machine_signature_invalid"),
        ("POST", f"/bookings/{_ID}/refund", "machine_signature_invalid"),
    ],
)
@pytest.mark.parametrize("body", [b"{broken", b'{"unknown": 1}', b""], ids=["broken", "unknown field", "none"])
def test_a_stranger_is_turned_away_before_the_body_is_read(
    stack: LocalStack, method: str, path: str, code: str, body: bytes
) -> None:
    answer = httpx.request(
        method, stack.api_url + path, content=body, headers={"content-type": "application/json"}, timeout=30
    )
    refused(answer, 401, code)
