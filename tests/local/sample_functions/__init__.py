"""Functions for the gateway's tests, laid out as the real ones are."""
