"""Amazon SES as boto3 sees it, over HTTP: what moto doesn't keep (the text, the tags) and doesn't do (refuse, hang up).

The wire is SES's v2 API in REST-JSON: `POST /v2/email/outbound-emails`, errors named by the header
`x-amzn-ErrorType` (https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html).
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PATH = "/v2/email/outbound-emails"


@dataclass(frozen=True)
class Refusal:
    """An error that SES answers."""

    status: int
    code: str
    message: str = ""


HANG_UP = "hang up"
"""The message is taken and the connection ends before the answer: nobody knows."""
Answer = Refusal | str | None


@dataclass
class Mailbox:
    """What was sent, and what is answered: `answers` in turn, then the message is taken."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    on_message: Callable[[dict[str, Any]], None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def recipients(self) -> list[str]:
        """Whom the messages that were taken went to."""
        return [address for message in self.messages for address in message["Destination"]["ToAddresses"]]

    def subjects(self) -> list[str]:
        """The subjects of the messages that were taken."""
        return [message["Content"]["Simple"]["Subject"]["Data"] for message in self.messages]

    def take(self, message: dict[str, Any]) -> Answer:
        """Keep a message and say what is answered."""
        with self.lock:
            answer = self.answers.pop(0) if self.answers else None
            (self.refused if isinstance(answer, Refusal) else self.messages).append(message)
        if self.on_message is not None:
            self.on_message(message)
        return answer


@contextmanager
def receiving() -> Iterator[Mailbox]:
    """A mailbox on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer: Answer = Refusal(404, "UnknownOperationException")
            if self.path == PATH:
                answer = mailbox.take(json.loads(body))
            if answer == HANG_UP:
                self.close_connection = True
            elif isinstance(answer, Refusal):
                self._answer(answer.status, {"message": answer.message}, {"x-amzn-ErrorType": answer.code})
            else:
                self._answer(200, {"MessageId": f"message-{len(mailbox.messages)}"}, {})

        def _answer(self, status: int, content: dict[str, str], headers: dict[str, str]) -> None:
            encoded = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    mailbox = Mailbox(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield mailbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def keep_in(folder: Path, mailbox: Mailbox) -> None:
    """Write each message that arrives into the folder, as a mail program opens it: `0001-<whom>.eml`.

    Made with it, if it is not there: numbers go on from what it holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = len(list(folder.glob("*.eml")))

    def keep(message: dict[str, Any]) -> None:
        nonlocal kept
        content = message["Content"]["Simple"]
        letter = EmailMessage()
        letter["From"] = message["FromEmailAddress"]
        letter["To"] = ", ".join(message["Destination"]["ToAddresses"])
        letter["Subject"] = content["Subject"]["Data"]
        letter.set_content(content["Body"]["Text"]["Data"])
        if "Html" in content["Body"]:
            letter.add_alternative(content["Body"]["Html"]["Data"], subtype="html")
        with mailbox.lock:
            kept += 1
            name = f"{kept:04}-{message['Destination']['ToAddresses'][0]}.eml"
        (folder / name).write_bytes(bytes(letter))

    mailbox.on_message = keep
