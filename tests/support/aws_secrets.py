"""Secrets Manager and SSM over HTTP: moto's, which may go away and come back, and one that answers what it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


def environment(url: str) -> dict[str, str]:
    """The variables that lead boto3 to a stand-in, and nowhere else."""
    return {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": url,
        "AWS_ENDPOINT_URL_SSM": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


class SecretStore:
    """Moto's Secrets Manager and Parameter Store behind one port."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        credentials = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": REGION}
        self.manager: Any = boto3.client("secretsmanager", endpoint_url=self.url, **credentials)  # type: ignore[call-overload]  # typed per keyword
        self.parameters: Any = boto3.client("ssm", endpoint_url=self.url, **credentials)  # type: ignore[call-overload]  # as above

    def put(self, name: str, value: Any) -> None:
        """Create or rotate a secret of Secrets Manager; what is no text becomes JSON."""
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            self.manager.put_secret_value(SecretId=name, SecretString=text)
        except self.manager.exceptions.ResourceNotFoundException:
            self.manager.create_secret(Name=name, SecretString=text)

    def put_parameter(self, name: str, value: str) -> None:
        """Create or rotate a SecureString of Parameter Store."""
        self.parameters.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within the block nobody listens; what is stored stays."""
        self._server.stop()
        try:
            yield
        finally:
            self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
            self._server.start()

    def close(self) -> None:
        """End the server."""
        self.manager.close()
        self.parameters.close()
        self._server.stop()


@dataclass
class Scripted:
    """An AWS that answers each request with the next (status, JSON), the last of them for ever."""

    url: str = ""
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    asked: int = 0


@contextmanager
def scripted(*answers: tuple[int, dict[str, Any]]) -> Iterator[Scripted]:
    """A Scripted on a free port."""
    script = Scripted(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            script.asked += 1
            status, document = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
