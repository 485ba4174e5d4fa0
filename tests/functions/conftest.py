"""The functions as their callers meet them."""

from tests.support.fixtures import *  # noqa: F403 - pytest finds the fixtures by their names in here
