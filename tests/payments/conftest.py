"""Payments end to end: the functions' own callers and stand-ins, and what a payment needs beside them."""

from collections.abc import Iterator

import pytest

from local.stack import LocalStack
from tests.functions.conftest import (  # noqa: F401 - pytest finds fixtures by their names in here
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
from tests.support.aftermath import Page, Reconcile, Wire
from tests.support.lambdas import cold_functions
from tests.support.stripe_side import StripeSide, WebhookSender


@pytest.fixture(scope="module")
def reconcile(stack: LocalStack) -> Iterator[Reconcile]:
    """The reconcile Lambda of the stack, in this process."""
    with cold_functions(stack):
        yield Reconcile()


@pytest.fixture(scope="session")
def page(stack: LocalStack) -> Page:
    """The cardholder's browser."""
    return Page(stack)


@pytest.fixture
def wire(stripe_side: StripeSide, webhook: WebhookSender) -> Wire:  # noqa: F811 - fixtures, asked for by their names
    """The webhooks, in the test's hands."""
    return Wire(stripe_side, webhook)
