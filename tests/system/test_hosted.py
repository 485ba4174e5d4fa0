"""With SUPABASE_URL set, the stack runs against that project: no Postgres and no stand-in of its own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx
import pytest

from local.stack import LocalStack
from local.supabase.bootstrap import create_user


@contextmanager
def project_of(stack: LocalStack) -> Iterator[str]:
    """The stack's stand-in behind another address, with what the stand-in lacks of a project: the users' admin API."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
            """Say nothing."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path == "/auth/v1/admin/users":
                assert self.headers["apikey"] == stack.supabase.secret_key
                asked = json.loads(body)
                user_id = create_user(stack.database_url, email=asked["email"], password=asked["password"])
                response = httpx.Response(200, json=_user(str(user_id), asked["email"]))
            else:
                kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                response = httpx.request(
                    self.command, stack.supabase.url + self.path, content=body, headers=kept, timeout=30
                )
            self.send_response(response.status_code)
            for name in ("content-type", "content-range"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _user(user_id: str, email: str) -> dict[str, object]:
    """A user as Supabase Auth's admin API answers: only what its client reads."""
    now = "2026-01-01T00:00:00Z"
    return {
        "id": user_id,
        "aud": "authenticated",
        "email": email,
        "app_metadata": {},
        "user_metadata": {},
        "created_at": now,
        "updated_at": now,
    }


def test_a_project_takes_the_place_of_postgres_and_stand_in(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    with project_of(stack) as url:
        monkeypatch.setenv("SUPABASE_URL", url)
        monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", stack.supabase.publishable_key)
        monkeypatch.setenv("SUPABASE_SECRET_KEY", stack.supabase.secret_key)
        monkeypatch.setenv("SUPABASE_JWT_ISSUER", stack.supabase.issuer)
        monkeypatch.setenv("DATABASE_URL", stack.database_url)
        for name, token in stack.supabase.function_tokens.items():
            monkeypatch.setenv(name, token)
        with LocalStack.start() as hosted:
            assert hosted.postgres is None
            assert "local.supabase" not in hosted.children
            assert hosted.contract()["supabase_url"] == url
            user = hosted.users.create(f"hosted-{uuid4().hex[:8]}@example.com")
            answer = httpx.get(
                f"{hosted.api_url}/campaigns",
                headers={"authorization": f"Bearer {user.access_token}"},
                timeout=30,
            )
            assert (answer.status_code, answer.json()["data"]) == (200, [])


def test_what_a_project_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://project.supabase.co")
    for name in ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="SUPABASE_PUBLISHABLE_KEY, SUPABASE_SECRET_KEY, DATABASE_URL"):
        LocalStack.start()
