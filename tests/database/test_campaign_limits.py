"""What a campaign may be, the same through our API and past it, by Supabase's REST API with the user's own token.

functions/campaigns/schemas.py and the checks of the table say it twice; here each limit is met from both sides.
"""

import pytest
from postgrest.exceptions import APIError

from tests.support.http import ok, refused
from tests.support.supabase_side import SupabaseSide, rows
from tests.support.travellers import Json, Traveller, in_time


def deep(levels: int) -> Json:
    """An object with a value that many levels down."""
    return {"x": deep(levels - 1)} if levels > 1 else {"x": 1}


LIMITS: dict[str, tuple[Json, Json]] = {
    "title": ({"title": "x" * 200}, {"title": "x" * 201}),
    "title, nothing in it": ({"title": "-"}, {"title": ""}),
    "criteria": ({"criteria": {"x": "y" * 8183}}, {"criteria": {"x": "y" * 8184}}),
    "criteria, bytes": ({"criteria": {"x": "é" * 4091}}, {"criteria": {"x": "é" * 4092}}),
    "criteria, levels": ({"criteria": deep(8)}, {"criteria": deep(9)}),
    "criteria, levels of lists": ({"criteria": {"x": [[[[[[[1]]]]]]]}}, {"criteria": {"x": [[[[[[[[1]]]]]]]]}}),
    "criteria, an object": ({"criteria": {}}, {"criteria": []}),
    "max_price_minor": ({"max_price_minor": 1}, {"max_price_minor": 0}),
    "budget_minor": ({"budget_minor": 99_999_999}, {"budget_minor": 100_000_000}),
    "price and budget": (
        {"max_price_minor": 99_999_999, "budget_minor": 99_999_999},
        {"max_price_minor": 100_000_000, "budget_minor": 100_000_000},
    ),
    "price within budget": ({"max_price_minor": 50_000}, {"max_price_minor": 50_001}),
    "max_bookings": ({"max_bookings": 1000}, {"max_bookings": 1001}),
    "max_bookings, none": ({"max_bookings": 1}, {"max_bookings": 0}),
    "expires_at": ({"expires_at": in_time(hours=2)}, {"expires_at": in_time(minutes=-1)}),
    "expires_at, never": ({"expires_at": "9999-12-29T00:00:00Z"}, {"expires_at": "infinity"}),
    "capture": ({"capture": "manual"}, {"capture": "by hand"}),
    "when_hold_ends": ({"when_hold_ends": "capture"}, {"when_hold_ends": "hope"}),
}
"""Values that a campaign may just have, and the first that it may not."""


@pytest.mark.parametrize("limit", LIMITS)
def test_a_campaign_has_the_same_limits_through_our_api_and_past_it(
    traveller: Traveller, supabase_side: SupabaseSide, limit: str
) -> None:
    fits, does_not = (traveller.campaign_body(**values) for values in LIMITS[limit])
    client = supabase_side.client(traveller.user.access_token).postgrest

    by_api, by_hand = traveller.open_campaign(**fits), rows(client.table("campaigns").insert(fits).execute())[0]
    change = {name: value for name, value in does_not.items() if value != fits[name]}
    assert traveller.api.post("/campaigns", does_not).status_code == 422
    assert traveller.api.patch(f"/campaigns/{by_api['id']}", change).status_code == 422
    with pytest.raises(APIError) as refusal:
        client.table("campaigns").insert(does_not).execute()
    assert str(refusal.value.code).startswith("2")  # a check, or a value that its type does not take
    with pytest.raises(APIError) as refusal:
        client.table("campaigns").update(change).eq("id", by_hand["id"]).execute()
    assert str(refusal.value.code).startswith("2")

    for campaign in (by_api, by_hand):  # one that takes anything would take other tests' offers
        ok(traveller.api.post(f"/campaigns/{campaign['id']}/cancel"))


def test_past_our_api_too_a_title_is_trimmed_and_a_key_can_be_read(
    traveller: Traveller, supabase_side: SupabaseSide
) -> None:
    client = supabase_side.client(traveller.user.access_token).postgrest

    assert traveller.open_campaign(title="  Rome \t\u2003")["title"] == "Rome"
    for wrong in ({"title": " Rome"}, {"title": "Rome\n"}, {"title": "\u2003"}, {"idempotency_key": "a b"}):
        with pytest.raises(APIError) as refusal:
            client.table("campaigns").insert(traveller.campaign_body(**wrong)).execute()
        assert refusal.value.code == "23514", wrong


def test_a_number_that_the_database_writes_out_counts_as_long_as_it_is(traveller: Traveller) -> None:
    """1e300 takes five bytes in a request and three hundred as jsonb: refused, and no error of ours."""
    refused(
        traveller.api.post("/campaigns", traveller.campaign_body(criteria={"x": [1e300] * 30})), 422, "invalid_request"
    )
