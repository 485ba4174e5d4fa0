"""Payments end to end; pytest finds the fixtures by their names in here."""

from tests.support.fixtures import (
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
from tests.support.payment_fixtures import page, reconcile, scene, unlucky, wire

__all__ = [
    "_gateways",
    "_stripe_side",
    "_supabase_side",
    "anonymous",
    "carded",
    "gateway_with",
    "http",
    "machine",
    "make_traveller",
    "page",
    "reconcile",
    "scene",
    "stripe_side",
    "supabase_side",
    "traveller",
    "unlucky",
    "webhook",
    "wire",
]
