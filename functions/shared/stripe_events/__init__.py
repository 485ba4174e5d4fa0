"""What we read out of each family of Stripe's events, for the webhook and for reconcile: one small file a family."""
