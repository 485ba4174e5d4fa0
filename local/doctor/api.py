"""Does each deployed function say of itself that its settings are fit to run with?"""

from collections.abc import Iterator

import httpx

from local.doctor.finding import Finding, fail, ok, unknown
from local.doctor.patient import Patient

FUNCTIONS = ("setup-intent", "payment-methods", "campaigns", "offers", "charge-booking", "bookings", "webhook")
"""Those that answer over HTTP. The queue's and the scheduled ones show by what they leave: local/doctor/running.py."""


def functions_are_healthy(patient: Patient) -> Iterator[Finding]:
    """`GET /<function>/health` of each."""
    if not patient.api_url:
        yield unknown("api.health", "AUTOBOOK_API_URL is not set", "set it to the address that `make deploy` printed")
        return
    well = []
    for name in FUNCTIONS:
        try:
            status = patient.http.get(f"{patient.api_url}/{name}/health").status_code
        except httpx.HTTPError as error:
            yield fail(
                "api.health",
                f"{patient.api_url} does not answer ({type(error).__name__})",
                "deploy the API, or correct AUTOBOOK_API_URL",
            )
            return
        if status == 200:
            well.append(name)
        elif status == 503:
            yield fail(
                "api.health",
                f"{name} says that its settings are not fit to run with",
                f"its log names the variables that are missing or malformed; then store them (function {name})",
            )
        else:
            yield fail("api.health", f"{name} answered {status}", "look at its log, and whether it is deployed")
    if len(well) == len(FUNCTIONS):
        yield ok("api.health", f"all {len(well)} functions are fit to run")


CHECKS = (functions_are_healthy,)
