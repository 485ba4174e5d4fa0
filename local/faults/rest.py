"""After the schedule: faults stop, some news stays lost, time goes on, and reconcile runs until it finds nothing."""

from typing import TYPE_CHECKING, Any

from local.faults.stage import Invocation

if TYPE_CHECKING:
    from local.faults.simulation import Simulation

MOST_ROUNDS = 30
_LOST_FOR_GOOD = 0.3
_PATIENCE_SECONDS = 3600.0
_LONGEST_WAIT_SECONDS = 8 * 24 * 3600
_NEXT_DUE = """
select extract(epoch from due)::double precision as due from (
  select action_expires_at as due from public.bookings where status = 'requires_action'
  union all select retry_at from public.bookings where status = 'retry_scheduled'
  union all select leased_until from public.bookings
  union all
  select capture_before - make_interval(secs => (select hold_margin_seconds from internal.settings))
  from public.bookings where status = 'authorized'
  union all
  select a.updated_at + interval '1 hour' from public.attempts as a
  where a.status = 'processing'
  union all
  select a.created_at + make_interval(secs => (select key_lifetime_seconds from internal.settings))
  from public.attempts as a where a.status = 'started'
  union all
  select a.replayed_error_at + make_interval(secs => (select replayed_error_patience_seconds from internal.settings))
  from public.attempts as a where a.status = 'started'
  union all
  select r.created_at + make_interval(secs => (select key_lifetime_seconds from internal.settings))
  from public.refunds as r where r.status = 'requested'
  union all select next_attempt_at from public.notifications where status = 'pending'
  union all select updated_at + interval '61 seconds' from public.payment_methods where status = 'detaching'
  union all select updated_at + interval '61 seconds' from public.matches where state = 'waiting'
) as waiting
where due > internal.clock()
order by due
"""


def come_to_rest(simulation: "Simulation") -> list[str]:
    """Give what never came to rest, in words."""
    simulation.tell("rest", "faults stop", "")
    simulation.is_calm = True
    simulation.finish()
    _lose_some(simulation)
    _fulfil(simulation)
    if simulation.draws.chance(0.5, "reconcile is late"):
        simulation.settle_down()
        simulation.pass_time(min(_until_next(simulation) or 0.0, _LONGEST_WAIT_SECONDS) + 1)
    found: list[Any] = []
    for number in range(MOST_ROUNDS):
        simulation.settle_down()
        before, found = found, _reconcile(simulation, number)
        busy = _carry_on(simulation)
        pause = _until_next(simulation)
        if busy or (found and found != before):
            # More may follow at once; or reconcile is away until something falls due by itself, and then does both.
            soon = 61 + 240 * simulation.draws.unit("rest", number)
            if pause is None or simulation.draws.chance(0.25, "soon", number):
                pause = soon
            simulation.pass_time(min(max(pause, soon), _LONGEST_WAIT_SECONDS) + 1)
            continue
        if found and pause is None:
            pause = _PATIENCE_SECONDS  # Stripe answers the same for as long as it keeps a key
        if pause is None:
            return _left_over(simulation)
        simulation.pass_time(min(pause, _LONGEST_WAIT_SECONDS) + 1)
    return [f"never at rest: after {MOST_ROUNDS} rounds reconcile still finds {found}"]


def _lose_some(simulation: "Simulation") -> None:
    """A part of what is on its way never arrives, whatever Stripe tries."""
    webhooks = simulation.world.webhooks
    for delivery in list(webhooks.deliveries.values()):
        if delivery.state == "waiting" and simulation.draws.chance(_LOST_FOR_GOOD, "for good", delivery.id):
            simulation.tell(delivery.id, f"{delivery.event['type']} stays lost", "")
            webhooks.lose(delivery)


def _fulfil(simulation: "Simulation") -> None:
    """Fulfilment ends most of the holds; the others end by time."""
    for row in simulation.database.rows("select id::text from public.bookings where status = 'authorized' order by id"):
        if simulation.draws.chance(0.7, "fulfil", row["id"]):
            simulation.acts.capture(simulation.name("fulfil"), row["id"], in_part=False)
    simulation.finish()


def _reconcile(simulation: "Simulation", number: int) -> list[Any]:
    found: list[Any] = []

    def done(invocation: Invocation) -> None:
        if invocation.failed:
            found.append(f"reconcile failed: {invocation.error!r}")
            return
        jobs = invocation.result["jobs"]
        found.extend((job, line) for job, lines in jobs.items() for line in lines)

    simulation.acts.scheduled(f"rest-{number}-reconcile", "reconcile", done)
    simulation.finish()
    for job, line in [each for each in found if isinstance(each, tuple)]:
        simulation.tell("reconcile", f"{job}: {line}", "")
    return found


def _carry_on(simulation: "Simulation") -> bool:
    """Messages, webhooks and mails that reconcile has caused; whether there were any."""
    simulation.queue.make_visible()
    busy = bool(simulation.queue.messages) or any(
        delivery.state == "waiting" for delivery in simulation.world.webhooks.deliveries.values()
    )
    for delivery in simulation.world.webhooks.deliveries.values():
        if delivery.state == "waiting":
            delivery.due = simulation.now()
    simulation.settle_down()
    sent: list[bool] = []

    def told(invocation: Invocation) -> None:
        sent.append(bool(invocation.failed or invocation.result))

    simulation.acts.scheduled(simulation.name("rest-notify"), "notify", told)
    simulation.finish()
    return busy or any(sent)


def _until_next(simulation: "Simulation") -> float | None:
    """Seconds until something is due by itself; None when nothing ever will be."""
    simulation.database.observe()
    waits = [max(0.0, row["due"] - simulation.now()) for row in simulation.database.rows(_NEXT_DUE)]
    planned = simulation.world.schedule.seconds_to_next()
    if planned is not None:
        waits.append(planned)
    if not waits:
        return None
    # Reconcile may be away for a while: what falls due within that time is done in one run.
    away = simulation.draws.pick((0, 7200, 26 * 3600, 26 * 3600, 26 * 3600), "away", simulation.now())
    return float(max(wait for wait in waits if wait <= min(waits) + away))


def _left_over(simulation: "Simulation") -> list[str]:
    rows = simulation.database.rows(
        "select id::text, status::text, closing_as::text from public.bookings "
        "where status in ('charging', 'requires_action', 'retry_scheduled', 'authorized') order by id"
    )
    return [f"at rest, and yet {row}" for row in rows]
