"""One module per Stripe resource; each lists its routes in ``ROUTES``."""
