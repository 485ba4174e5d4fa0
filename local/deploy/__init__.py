"""From the checkout to a deployed service: packaging, deploying, and the proof that what was packaged runs."""
