"""People, cards and offers for tests of the database; pytest finds the fixtures by their names in here."""

from tests.support.fixtures import (
    _stripe_side,
    _supabase_side,
    anonymous,
    carded,
    http,
    machine,
    make_traveller,
    stripe_side,
    supabase_side,
    traveller,
)

__all__ = [
    "_stripe_side",
    "_supabase_side",
    "anonymous",
    "carded",
    "http",
    "machine",
    "make_traveller",
    "stripe_side",
    "supabase_side",
    "traveller",
]
