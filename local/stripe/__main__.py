"""``python -m local.stripe``: serve the stand-in."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading

from local.stripe.app import create_app
from local.stripe.server import StripeServer, bind, url_of
from local.stripe.settings import Settings, WebhookTarget


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.stripe", description="A stand-in for Stripe's API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--secret-key", required=True, help="sk_test_…")
    parser.add_argument("--publishable-key", required=True, help="pk_test_…")
    parser.add_argument("--webhook-url", action="append", default=[], help="repeatable")
    parser.add_argument("--webhook-secret", action="append", default=[], help="whsec_…, one per --webhook-url")
    parser.add_argument("--control", action="store_true", help="serve the control routes under /_control")
    parser.add_argument("--seed", type=int, default=None, help="makes ids and faults repeatable")
    parser.add_argument("--parent-watch", action="store_true", help="end when standard input closes")
    options = parser.parse_args(argv)
    if len(options.webhook_url) != len(options.webhook_secret):
        parser.error("give one --webhook-secret per --webhook-url")
    if not options.secret_key.startswith(("sk_test_", "rk_test_")):
        parser.error("--secret-key must be a test key (sk_test_…)")
    if not options.publishable_key.startswith("pk_test_"):
        parser.error("--publishable-key must be a test key (pk_test_…)")
    if not all(secret.startswith("whsec_") and len(secret) > len("whsec_") for secret in options.webhook_secret):
        parser.error("every --webhook-secret must start with whsec_ and not be empty")
    return options


def _watch_parent() -> None:
    """End the process as Ctrl-C would once the parent has gone and standard input with it."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; prints ``{"url": …}`` once the port is open."""
    options = _arguments(argv)
    targets = zip(options.webhook_url, options.webhook_secret, strict=True)
    settings = Settings(
        secret_key=options.secret_key,
        publishable_key=options.publishable_key,
        webhooks=tuple(WebhookTarget(url=url, secret=secret) for url, secret in targets),
        control=options.control,
        seed=options.seed,
    )
    listener = bind(options.host, options.port)
    listener.listen(128)
    server = StripeServer(create_app(settings))

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn takes these while it serves and raises them again afterwards; before and after, they mean the same.
        signal.signal(number, stop)
    if options.parent_watch:
        _watch_parent()
    print(json.dumps({"url": url_of(listener)}), flush=True)
    server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
