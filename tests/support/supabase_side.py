"""Supabase as a test sees it: the stand-in's control routes, and supabase-py with anybody's token."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from supabase import Client, ClientOptions, create_client

from local.stack import LocalStack
from tests.support.http import PATIENCE_SECONDS, connection

REST = "/rest/v1/"


class SupabaseSide:
    """The stand-in of one stack."""

    def __init__(self, stack: LocalStack) -> None:
        self._project = stack.supabase
        self._http = httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False)
        self._control = connection(f"{stack.supabase.url}/_control")
        self._disturbed = False

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()
        self._control.close()

    def client(self, token: str | None = None) -> Client:
        """supabase-py as a browser has it: the publishable key, and a user's token or none."""
        client = self._client(self._project.publishable_key)
        if token is not None:
            client.postgrest.auth(token)
        return client

    def service(self) -> Client:
        """supabase-py with the operators' key."""
        return self._client(self._project.secret_key)

    def _client(self, key: str) -> Client:
        options = ClientOptions(httpx_client=self._http, auto_refresh_token=False, persist_session=False)
        return create_client(self._project.url, key, options)

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """The database requests within the block ("POST rpc/begin_charge"), filled in at its end."""
        assert self._control.post("/reset").is_success
        seen: list[str] = []
        yield seen
        for entry in self._control.get("/requests").json():
            if entry["path"].startswith(REST):
                seen += [f"{entry['method']} {entry['path'].removeprefix(REST)}"] * entry["count"]

    def fault(self, path: str, action: str, *, when: str = "before", times: int | None = 1) -> None:
        """Let a fault strike requests to a path (`local.supabase.control`)."""
        self._disturbed = True
        rule = {"match": path, "action": action, "when": when, "times": times}
        assert self._control.post("/faults", json=[rule]).is_success

    def heal(self) -> None:
        """Remove every fault."""
        assert self._control.delete("/faults").is_success

    def calm(self) -> None:
        """Undo what a test has disturbed."""
        if self._disturbed:
            self.heal()
            self._disturbed = False


def rows(answer: Any) -> list[dict[str, Any]]:
    """The rows of a supabase-py answer."""
    data = answer.data
    assert isinstance(data, list)
    return data
