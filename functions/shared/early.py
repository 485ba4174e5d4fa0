"""Slow imports that are put off until they are needed, done at once where a start is a copy.

With SnapStart Lambda imports a function when a version is published, and starts copies of it: what is imported then is
paid once, by nobody who waits. Only imports: a connection or a secret would age in the copy.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-best-practices.html
"""

import importlib
import os


def import_where_starts_are_copies(*modules: str) -> None:
    """Import them if this start will be copied. The variable is Lambda's own.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        for module in modules:
            importlib.import_module(module)
