"""The functions as their callers meet them; pytest finds the fixtures by their names in here."""

from tests.support.fixtures import (
    OpenGateway,
    _gateways,
    _stripe_side,
    _supabase_side,
    anonymous,
    carded,
    gateway_with,
    http,
    machine,
    make_traveller,
    stripe_side,
    supabase_side,
    traveller,
    webhook,
)

__all__ = [
    "OpenGateway",
    "_gateways",
    "_stripe_side",
    "_supabase_side",
    "anonymous",
    "carded",
    "gateway_with",
    "http",
    "machine",
    "make_traveller",
    "stripe_side",
    "supabase_side",
    "traveller",
    "webhook",
]
