"""People, cards and offers for tests of the database."""

from tests.support.fixtures import *  # noqa: F403 - pytest finds the fixtures by their names in here
