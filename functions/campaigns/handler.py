"""Campaigns: what a user wants booked without being asked again.

All of it runs with the user's own token, so that row-level security decides whose rows these are.
"""

import hashlib
from functools import partial
from typing import Any
from uuid import UUID

from functions.campaigns.schemas import (
    CampaignChange,
    CampaignList,
    CampaignView,
    NewCampaign,
    Preflight,
    Stopped,
    Timeline,
)
from functions.shared import auth, database, metrics
from functions.shared.database import Database
from functions.shared.paging import ListQuery, decode_cursor, list_newest_first, page, uuid_of
from functions.shared.problems import Problem
from functions.shared.schemas import ProblemDocument
from functions.shared.settings import UserSettings, function_settings, read
from functions.shared.web import Answer, Api, Call, NoQuery

COLUMNS = ",".join(CampaignView.model_fields)

api = Api("campaigns")
for group in (UserSettings,):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "campaigns"))


@api.operation("POST", "/campaigns", who="user", body=NewCampaign, answers={201: CampaignView, 409: ProblemDocument})
@metrics.success("CampaignCreation")
def create(call: Call[NewCampaign, NoQuery]) -> Answer:
    """Open a campaign. The same Idempotency-Key with the same body gives the same campaign."""
    rows = _of_caller(call)
    values = call.body.model_dump(mode="json", exclude_unset=True)
    if call.idempotency_key is None:
        return Answer(201, rows.rows(rows.table("campaigns").insert(values).select(COLUMNS))[0])
    fingerprint = hashlib.sha256(call.raw_body).hexdigest()
    keyed = values | {"idempotency_key": call.idempotency_key, "idempotency_fingerprint": fingerprint}
    try:
        return Answer(201, rows.rows(rows.table("campaigns").insert(keyed).select(COLUMNS))[0])
    except Problem as problem:
        if problem.code != "idempotency_key_reused":
            raise
        same = (
            rows.table("campaigns")
            .select(COLUMNS)
            .eq("idempotency_key", call.idempotency_key)
            .eq("idempotency_fingerprint", fingerprint)
        )
        found = rows.rows(same)
        if not found:
            raise
        return Answer(201, found[0])


@api.operation("GET", "/campaigns", who="user", query=ListQuery, answers={200: CampaignList})
def list_campaigns(call: Call[None, ListQuery]) -> Answer:
    """The caller's campaigns, newest first."""
    return Answer(200, list_newest_first(_of_caller(call), "campaigns", call.query, COLUMNS))


@api.operation("GET", "/campaigns/{id}", who="user", answers={200: CampaignView, 404: ProblemDocument})
def show(call: Call[None, NoQuery]) -> Answer:
    """One campaign of the caller."""
    return Answer(200, _campaign(_of_caller(call), _id(call)))


@api.operation(
    "PATCH",
    "/campaigns/{id}",
    who="user",
    body=CampaignChange,
    answers={200: CampaignView, 404: ProblemDocument, 409: ProblemDocument},
)
def change(call: Call[CampaignChange, NoQuery]) -> Answer:
    """Change a campaign that is active or paused; not below what is spent and reserved."""
    rows, campaign_id = _of_caller(call), _id(call)
    values = call.body.model_dump(mode="json", exclude_unset=True)
    changed = rows.rows(rows.table("campaigns").update(values).eq("id", str(campaign_id)).select(COLUMNS))
    if not changed:
        _campaign(rows, campaign_id)  # 404 when it is not the caller's
        raise Problem("campaign_not_active", "An ended campaign does not change any more.")
    return Answer(200, changed[0])


def _move(action: str, call: Call[None, NoQuery]) -> Answer:
    """Pause, resume or cancel a campaign; saying it twice is saying it once."""
    rows, campaign_id = _of_caller(call), _id(call)
    rows.call("move_campaign", p_id=str(campaign_id), p_action=action)
    return Answer(200, _campaign(rows, campaign_id))


for action in ("pause", "resume", "cancel"):
    api.operation(
        "POST",
        f"/campaigns/{{id}}/{action}",
        who="user",
        answers={200: CampaignView, 404: ProblemDocument, 409: ProblemDocument},
    )(partial(_move, action))


@api.operation("POST", "/campaigns/stop-all", who="user", answers={200: Stopped})
def stop_all(call: Call[None, NoQuery]) -> Answer:
    """The kill switch: nothing of the caller's is charged any more until a campaign is resumed."""
    user = auth.user(call)
    return Answer(
        200, database.as_function("campaigns", call.request_id).call("stop_all_campaigns", p_user_id=str(user.id))
    )


@api.operation("GET", "/campaigns/{id}/preflight", who="user", answers={200: Preflight, 404: ProblemDocument})
def preflight(call: Call[None, NoQuery]) -> Answer:
    """Would a charge work now: a list of findings."""
    return Answer(200, _of_caller(call).call("campaign_preflight", p_campaign_id=str(_id(call))))


@api.operation(
    "GET",
    "/campaigns/{id}/timeline",
    who="user",
    query=ListQuery,
    answers={200: Timeline, 404: ProblemDocument},
)
def timeline(call: Call[None, ListQuery]) -> Answer:
    """Why was I (not) charged: every offer considered, newest first."""
    before = decode_cursor(call.query.cursor) if call.query.cursor else (None, None)
    entries: list[dict[str, Any]] | None = _of_caller(call).call(
        "campaign_timeline",
        p_campaign_id=str(_id(call)),
        p_limit=call.query.limit + 1,
        p_before=before[0].isoformat() if before[0] else None,
        p_before_offer_id=before[1],
    )
    if entries is None:
        raise Problem("campaign_not_found")
    return Answer(200, page(entries, call.query.limit, "considered_at", "offer_id"))


def _of_caller(call: Call[Any, Any]) -> Database:
    return database.as_user(auth.user(call).token, call.request_id)


def _id(call: Call[Any, Any]) -> UUID:
    return uuid_of(call.path["id"], "campaign_not_found")


def _campaign(rows: Database, campaign_id: UUID) -> dict[str, Any]:
    found = rows.rows(rows.table("campaigns").select(COLUMNS).eq("id", str(campaign_id)))
    if not found:
        raise Problem("campaign_not_found")
    return found[0]


handler = api.handler()
