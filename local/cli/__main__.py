"""`python -m local.cli`, which the script `autobook` at the top of the checkout calls."""

from local.cli.app import app

if __name__ == "__main__":
    app(prog_name="autobook")
