"""Fixtures for payments end to end: reconcile, the cardholder's browser, the webhooks in the test's own hands."""

from collections.abc import Iterator

import pytest

from local.stack import LocalStack
from tests.support.aftermath import Page, Reconcile, Wire
from tests.support.http import Caller
from tests.support.lambdas import cold_functions
from tests.support.story import Scene
from tests.support.stripe_side import StripeSide, WebhookSender
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import Traveller

__all__ = ["page", "reconcile", "scene", "wire"]


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
def wire(stripe_side: StripeSide, webhook: WebhookSender) -> Wire:
    """The webhooks, in the test's hands."""
    return Wire(stripe_side, webhook)


@pytest.fixture
def scene(traveller: Traveller, page: Page, machine: Caller, supabase_side: SupabaseSide) -> Scene:
    """A traveller with nothing yet, the page, fulfilment and the dashboard."""
    return Scene(traveller, page, machine, supabase_side)
