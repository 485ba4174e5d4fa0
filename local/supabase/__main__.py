"""`python -m local.supabase`: runs the Supabase stand-in over any Postgres."""

import argparse
import json
from pathlib import Path

from local.supabase.app import create_app
from local.supabase.server import listen, serve
from local.supabase.settings import Settings
from local.supabase.tokens import SigningKey


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.supabase", description=__doc__)
    add = parser.add_argument
    add("--database-url", required=True, help="a superuser's or authenticator's connection")
    add("--port", type=int, default=0, help="0 takes a free port")
    add("--jwt-secret", required=True, help="HS256 secret of tokens")
    add("--host", default="127.0.0.1")
    add("--publishable-key", help="opaque key (sb_publishable_…) that stands for the role anon")
    add("--secret-key", help="opaque key (sb_secret_…) that stands for the role service_role")
    add("--signing-key", type=Path, metavar="FILE", help="private ES256 JWK, made when missing; signs sign-ins")
    add("--issuer", help="iss of sign-in tokens; <url>/auth/v1 unless said")
    add("--token-lifetime", type=int, default=3600, metavar="SECONDS", help="of sign-in tokens")
    add("--pool-size", type=int, default=10, help="connections to the database")
    add("--control", action="store_true", help="serve /_control: requests seen, faults on demand")
    add("--parent-watch", action="store_true", help="end when stdin does, that is with the parent")
    return parser


def main() -> None:
    """Serve until told to stop; print `{"url": …}` as one line once connections are accepted."""
    options = _parser().parse_args()
    with listen(options.host, options.port) as bound:
        host = f"[{options.host}]" if ":" in options.host else options.host
        url = f"http://{host}:{bound.getsockname()[1]}"
        settings = Settings(
            database_url=options.database_url,
            jwt_secret=options.jwt_secret,
            url=url,
            publishable_key=options.publishable_key,
            secret_key=options.secret_key,
            signing_key=SigningKey.load_or_create(options.signing_key) if options.signing_key else None,
            issuer=options.issuer,
            token_lifetime_seconds=options.token_lifetime,
            pool_size=options.pool_size,
            control=options.control,
        )
        app = create_app(settings)
        bound.listen(2048)  # from here on connections are accepted, if only into the queue
        print(json.dumps({"url": url}), flush=True)
        serve(app, bound, parent_watch=options.parent_watch)


if __name__ == "__main__":
    main()
