"""Payments end to end."""

from tests.support.fixtures import *  # noqa: F403 - pytest finds the fixtures by their names in here
from tests.support.payment_fixtures import *  # noqa: F403 - pytest finds the fixtures by their names in here
