"""What an account says of itself to SES's v2 API (REST-JSON): identities, configuration sets, the sandbox.

Moto keeps identities, but knows no GetAccount, and that is where the sandbox is told.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class SesAccount:
    """The account; a test changes it."""

    url: str = ""
    verified: set[str] = field(default_factory=set)
    configuration_sets: set[str] = field(default_factory=set)
    is_out_of_sandbox: bool = True
    is_sending: bool = True

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and document of a GET."""
        kind, _, name = path.removeprefix("/v2/email/").partition("/")
        name = unquote(name)
        if kind == "account":
            return 200, {"ProductionAccessEnabled": self.is_out_of_sandbox, "SendingEnabled": self.is_sending}
        if kind == "identities" and name in self.verified:
            return 200, {"IdentityType": "DOMAIN", "VerifiedForSendingStatus": True}
        if kind == "configuration-sets" and name in self.configuration_sets:
            return 200, {"ConfigurationSetName": name}
        return 404, {"message": f"{name} does not exist"}


@contextmanager
def ses_account() -> Iterator[SesAccount]:
    """An account on a free port."""
    account = SesAccount()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, document = account.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("x-amzn-ErrorType", "NotFoundException")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    account.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield account
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
