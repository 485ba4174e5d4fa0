"""The hello function that `make bench-cold` measures against: what one writes before counting milliseconds."""

import os

import stripe
from fastapi import FastAPI
from mangum import Mangum
from supabase import Client, create_client

app = FastAPI()


@app.get("/hello")
def hello() -> dict[str, str]:
    """Say hello."""
    return {"hello": "world"}


def make_clients() -> tuple[Client, stripe.StripeClient]:
    """The clients that its first request would need, from the environment."""
    return (
        create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_SECRET_KEY"]),
        stripe.StripeClient(os.environ["STRIPE_SECRET_KEY"]),
    )


handler = Mangum(app, lifespan="off")
