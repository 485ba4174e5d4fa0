"""A stand-in for Stripe's API: off-session card charging, over HTTP, for the official SDK.

State lives in memory in one :class:`local.stripe.world.StripeWorld`; :mod:`local.stripe.app` serves it.
"""
