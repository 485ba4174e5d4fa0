"""All checks, one after the other; one that breaks does not stop the others."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from local.doctor import api, aws, database, endpoint, running, settings, stripe, supabase
from local.doctor.finding import Finding, Status, unknown
from local.doctor.patient import Patient

Check = Callable[[Patient], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *settings.CHECKS,
    *stripe.CHECKS,
    *api.CHECKS,
    *endpoint.CHECKS,
    *supabase.CHECKS,
    *database.CHECKS,
    *aws.CHECKS,
    *running.CHECKS,
)


def examine(
    values: Mapping[str, str], webhook_url: str | None = None, checks: Iterable[Check] = CHECKS
) -> list[Finding]:
    """What is to be said of the environment with these variables. Changes nothing, here or elsewhere."""
    patient = Patient(values, webhook_url)
    try:
        return [finding for check in checks for finding in _carefully(check, patient)]
    finally:
        patient.close()


def _carefully(check: Check, patient: Patient) -> Iterator[Finding]:
    try:
        yield from check(patient)
    except Exception as error:  # noqa: BLE001 - whatever an odd environment brings about; the type tells no secret
        yield unknown(
            f"doctor.{check.__name__}",
            f"the check broke off ({type(error).__name__})",
            "run doctor again; if it stays, look by hand at what the check's name says",
        )


def verdict(findings: list[Finding]) -> Status:
    """The worst that was found: fail before unknown before warn."""
    for status in (Status.FAIL, Status.UNKNOWN, Status.WARN):
        if any(finding.status is status for finding in findings):
            return status
    return Status.OK
