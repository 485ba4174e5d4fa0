"""Sign-in and everything after it, through supabase-py as a page or a function would."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from postgrest import APIError, CountMethod
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from local.supabase.bootstrap import create_user
from local.supabase.tokens import make_api_key
from tests.local.supabase.conftest import StandIn, StartStandIn

PUBLISHABLE, SECRET = make_api_key("publishable"), make_api_key("secret")
PASSWORD = "correct horse battery staple"

SCHEMA = """
create table notes (
  id int generated always as identity primary key, owner uuid not null default auth.uid() references auth.users (id),
  title text not null unique, done boolean not null default false);
alter table notes enable row level security;
create policy own on notes for all to authenticated
  using (owner = (select auth.uid())) with check (owner = (select auth.uid()));
create function my_email() returns text language sql stable as $$ select auth.email() $$;
create function count_notes() returns bigint language sql stable as $$ select count(*) from notes $$;
"""


@pytest.fixture(scope="module")
def project(make_database: Callable[[str], str], start_stand_in: StartStandIn) -> StandIn:
    url = make_database(SCHEMA)
    for name in ("ada", "bob"):
        create_user(url, email=f"{name}@example.com", password=PASSWORD)
    return start_stand_in(url, publishable_key=PUBLISHABLE, secret_key=SECRET, token_lifetime_seconds=900)


Connect = Callable[[str], Client]


@pytest.fixture
def connect(project: StandIn) -> Iterator[Connect]:
    """Make clients whose connections end with the test."""
    with httpx.Client(timeout=15) as http:

        def make(key: str) -> Client:
            return create_client(project.url, key, ClientOptions(httpx_client=http, auto_refresh_token=False))

        yield make


@pytest.fixture
def ada(connect: Connect) -> Client:
    return signed_in(connect(PUBLISHABLE), "ada")


def signed_in(client: Client, name: str) -> Client:
    client.auth.sign_in_with_password({"email": f"{name}@example.com", "password": PASSWORD})
    return client


def data(response: Any) -> Any:
    return response.data


def test_a_signed_in_user_reads_and_writes_own_rows(connect: Connect, ada: Client) -> None:
    made = data(ada.table("notes").insert({"title": "milk"}).execute())
    assert made[0]["title"] == "milk"
    assert data(ada.table("notes").select("title, done").eq("id", made[0]["id"]).single().execute()) == {
        "title": "milk",
        "done": False,
    }
    assert data(ada.table("notes").update({"done": True}).eq("title", "milk").execute())[0]["done"] is True
    merged = ada.table("notes").upsert({"title": "milk", "done": False}, on_conflict="title").execute()
    assert data(merged)[0]["id"] == made[0]["id"]
    assert data(ada.rpc("my_email").execute()) == "ada@example.com"

    bob = signed_in(connect(PUBLISHABLE), "bob")
    assert data(bob.table("notes").select("*").execute()) == []
    assert data(bob.table("notes").delete().eq("title", "milk").execute()) == []
    with pytest.raises(APIError) as caught:
        bob.table("notes").insert({"title": "theft", "owner": made[0]["owner"]}).execute()
    assert caught.value.code == "42501"

    assert data(connect(SECRET).table("notes").select("title").execute()) == [{"title": "milk"}]
    assert connect(SECRET).table("notes").select("*", count=CountMethod.exact, head=True).execute().count == 1
    assert data(connect(PUBLISHABLE).table("notes").select("*").execute()) == []
    assert connect(PUBLISHABLE).table("notes").select("*").maybe_single().execute() is None


def test_the_session_is_a_supabase_session(project: StandIn, connect: Connect) -> None:
    answer = connect(PUBLISHABLE).auth.sign_in_with_password({"email": "ADA@example.com", "password": PASSWORD})
    assert answer.session is not None
    assert answer.user is not None
    assert (answer.session.token_type, answer.session.expires_in) == ("bearer", 900)
    assert (answer.user.email, answer.user.role, answer.user.aud) == (
        "ada@example.com",
        "authenticated",
        "authenticated",
    )
    assert answer.user.app_metadata == {"provider": "email", "providers": ["email"]}
    assert answer.user.created_at is not None


def test_get_user_and_get_claims_know_the_caller(ada: Client) -> None:
    answer = ada.auth.get_user()
    assert answer is not None
    assert answer.user.email == "ada@example.com"
    claims = ada.auth.get_claims()
    assert claims is not None
    assert claims["claims"]["sub"] == answer.user.id


def test_a_session_is_refreshed_once_per_token(connect: Connect) -> None:
    client = connect(PUBLISHABLE)
    first = client.auth.sign_in_with_password({"email": "ada@example.com", "password": PASSWORD}).session
    assert first is not None
    second = client.auth.refresh_session(first.refresh_token).session
    assert second is not None
    assert second.refresh_token != first.refresh_token
    assert data(client.rpc("my_email").execute()) == "ada@example.com"
    with pytest.raises(AuthApiError) as caught:
        client.auth.refresh_session(first.refresh_token)
    assert str(caught.value.code) == "refresh_token_already_used"
    with pytest.raises(AuthApiError) as caught:
        client.auth.refresh_session("nonsense")
    assert str(caught.value.code) == "refresh_token_not_found"


def test_signing_out_ends_the_session_but_not_the_token(project: StandIn, connect: Connect) -> None:
    client = connect(PUBLISHABLE)
    session = client.auth.sign_in_with_password({"email": "ada@example.com", "password": PASSWORD}).session
    assert session is not None
    client.auth.sign_out()
    headers = {"apikey": PUBLISHABLE, "authorization": f"Bearer {session.access_token}"}
    refused = project.client.get(f"{project.url}/auth/v1/user", headers=headers)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "session_not_found")
    # As on a hosted project, the token itself stays good until it expires.
    assert project.client.post(f"{project.url}/rest/v1/rpc/my_email", json={}, headers=headers).status_code == 200


@pytest.mark.parametrize(("email", "password"), [("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD)])
def test_wrong_credentials_are_all_the_same(connect: Connect, email: str, password: str) -> None:
    with pytest.raises(AuthApiError) as caught:
        connect(PUBLISHABLE).auth.sign_in_with_password({"email": email, "password": password})
    assert (caught.value.status, caught.value.code) == (400, "invalid_credentials")
    assert caught.value.message == "Invalid login credentials"


@pytest.mark.parametrize(
    ("change", "code"),
    [("banned_until = now() + interval '1 hour'", "user_banned"), ("deleted_at = now()", "invalid_credentials")],
)
def test_banned_and_deleted_users_stay_out(project: StandIn, connect: Connect, change: str, code: str) -> None:
    email = f"{code}@example.com"
    create_user(project.database_url, email=email, password=PASSWORD)
    project.sql(f"update auth.users set {change} where email = '{email}'")  # noqa: S608  # the test's own words
    with pytest.raises(AuthApiError) as caught:
        connect(PUBLISHABLE).auth.sign_in_with_password({"email": email, "password": PASSWORD})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("POST", "token?grant_type=magic", {"json": {}}, 400, "invalid_credentials"),
        ("POST", "token?grant_type=password", {"json": {"email": "a@b.c"}}, 400, "validation_failed"),
        ("POST", "token?grant_type=password", {"content": "{nonsense"}, 400, "bad_json"),
        ("GET", "user", {}, 401, "no_authorization"),
        ("GET", "user", {"headers": {"authorization": "Bearer a.b.c"}}, 403, "bad_jwt"),
        ("POST", "logout", {}, 401, "no_authorization"),
    ],
)
def test_refusals(project: StandIn, method: str, path: str, options: dict[str, Any], status: int, code: str) -> None:
    headers = {"apikey": PUBLISHABLE, **options.get("headers", {})}
    answer = project.client.request(method, f"{project.url}/auth/v1/{path}", **{**options, "headers": headers})
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_auth_needs_the_api_key_too(project: StandIn) -> None:
    assert project.client.get(f"{project.url}/auth/v1/user").json()["message"] == "No API key found in request"
    assert project.client.get(f"{project.url}/auth/v1/health").status_code == 200


def test_a_page_of_another_origin_may_call(project: StandIn) -> None:
    asking = {"origin": "http://page.test", "access-control-request-method": "POST"}
    preflight = project.client.options(f"{project.url}/rest/v1/rpc/my_email", headers=asking)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
    headers = {"origin": "http://page.test", "apikey": PUBLISHABLE}
    answer = project.client.post(f"{project.url}/rest/v1/rpc/my_email", json={}, headers=headers)
    assert answer.headers["access-control-allow-origin"] == "*"
