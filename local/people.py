"""A person's rights, and proof of the audit log, by the operators' key: `autobook export`, `erase`, `audit-verify`."""

import re
from typing import Any
from uuid import UUID, uuid4

from functions.shared import database
from functions.shared.stripe_gateway import gateway


def export(user: UUID) -> dict[str, Any]:
    """All that is held of a person (GDPR articles 15 and 20). Raises Problem, SettingsError."""
    copy: dict[str, Any] = _call("export_user", p_user_id=str(user))
    return copy


def erase(user: UUID) -> bool:
    """Clear what identifies a person (GDPR article 17) and delete their Stripe Customer; whether there was one.

    Raises Problem (409 while a payment is under way), SettingsError. What failed half-way is done by a repeat.
    """
    erased = _call("erase_user", p_user_id=str(user))
    customer = erased["stripe_customer_id"]
    if customer:
        gateway().delete_customer(customer)
    return bool(customer)


def audit_breaches() -> list[dict[str, Any]]:
    """Where the audit log contradicts itself or the rows: {table_name, row_id, breach}. Raises as `export` does."""
    breaches: list[dict[str, Any]] = _call("audit_breaches")
    return breaches


def audit_head() -> str:
    """`<id>:<hash>` of all entries up to the last one that is settled. Raises as `export` does."""
    until = _call("audit_settled_until")
    return f"{until}:{_call('audit_head', p_until=until)}"


def audit_head_is_kept(head: str) -> bool:
    """Whether the log says up to there what it said when the head was taken. Raises ValueError for what is no head."""
    until, _, digest = head.partition(":")
    if not re.fullmatch(r"\d{1,18}", until) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(head)
    return bool(_call("audit_head", p_until=int(until)) == digest)


def _call(function: str, **values: Any) -> Any:
    return database.as_operator(uuid4().hex).call(function, **values)
