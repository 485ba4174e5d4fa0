"""Who may do what, of everything there is: tables and views, row by row and column by column, functions, sequences.

The catalogue names the objects, so one that nobody thought of fails here; the rows are really read and written by each
actor, as PostgREST would for a token. EXPECTED is the whole answer.
"""

import psycopg
import pytest

from tests.security.catalogue import ACTORS, SCHEMAS, People, matrix

EXPECTED = """
# What each actor can do with a row (r read, c create, u update, d delete). In the order of ACTORS: a signed-in user
# with a row of theirs; with a row of somebody else's; a user whose token names nobody; anon; service_role;
# authenticator; all the roles of functions. The last four can do nothing with rows: they have functions, or nothing.
rows of attempts                   | r---  ----  ----  ----  ----  ----  ----
rows of audit_log                  | ----  ----  ----  ----  ----  ----  ----
rows of booking_view               | r---  ----  ----  ----  ----  ----  ----
rows of bookings                   | r---  ----  ----  ----  ----  ----  ----
rows of campaigns                  | rcu-  ----  ----  ----  ----  ----  ----
rows of currencies                 | r---  r---  r---  ----  ----  ----  ----
rows of customers                  | r---  ----  ----  ----  ----  ----  ----
rows of disputes                   | r---  ----  ----  ----  ----  ----  ----
rows of incidents                  | ----  ----  ----  ----  ----  ----  ----
rows of ledger_entries             | r---  ----  ----  ----  ----  ----  ----
rows of matches                    | r---  ----  ----  ----  ----  ----  ----
rows of notifications              | r---  ----  ----  ----  ----  ----  ----
rows of offers                     | r---  ----  ----  ----  ----  ----  ----
rows of payment_methods            | r---  ----  ----  ----  ----  ----  ----
rows of refunds                    | r---  ----  ----  ----  ----  ----  ----
rows of setup_intents              | r---  ----  ----  ----  ----  ----  ----
rows of stripe_events              | ----  ----  ----  ----  ----  ----  ----
rows of internal.reconcile_state   | ----  ----  ----  ----  ----  ----  ----
rows of internal.settings          | ----  ----  ----  ----  ----  ----  ----
rows of internal.transitions       | ----  ----  ----  ----  ----  ----  ----

# Which columns, by role and right. "the table" stands for rights that have no columns (delete, truncate, trigger).
attempts: authenticated select |
    id booking_id user_id payment_method_id ordinal status user_message created_at updated_at settled_at
booking_view: authenticated select |
    id campaign_id offer_id status amount_minor currency amount_refunded_minor capture user_message expires_at
    retry_at confirmed_at created_at attempts
bookings: authenticated select |
    id campaign_id offer_id user_id status amount_minor currency capture stripe_payment_intent_id
    amount_captured_minor amount_refunded_minor user_message action_expires_at retry_at capture_before
    confirmed_at created_at updated_at
campaigns: authenticated insert |
    title criteria currency max_price_minor budget_minor max_bookings expires_at payment_method_id use_backups
    capture auto_book when_hold_ends idempotency_key idempotency_fingerprint
campaigns: authenticated select |
    id user_id title criteria currency max_price_minor budget_minor max_bookings expires_at payment_method_id
    use_backups capture auto_book when_hold_ends status pause_reason reserved_minor spent_minor
    refund_reversed_minor bookings_in_flight bookings_confirmed bookings_restored idempotency_key
    idempotency_fingerprint created_at updated_at
campaigns: authenticated update |
    title criteria max_price_minor budget_minor max_bookings expires_at payment_method_id use_backups capture
    auto_book when_hold_ends
currencies: authenticated select |
    code exponent minimum_charge_minor minimum_is_published maximum_charge_minor amount_step_minor
customers: authenticated select |
    user_id stripe_customer_id email generation created_at updated_at deleted_at
disputes: authenticated select               | id booking_id user_id status amount_minor currency opened_at closed_at
ledger_entries: authenticated select         | id campaign_id booking_id refund_id kind amount_minor created_at
matches: authenticated select                | campaign_id offer_id user_id verdict state considered_at updated_at
notifications: authenticated select          | id user_id kind campaign_id booking_id data created_at
offers: authenticated select                 | id attributes amount_minor currency expires_at created_at updated_at
payment_methods: authenticated select |
    id user_id status brand last4 exp_month exp_year funding country wallet is_default backup_position
    created_at updated_at
refunds: authenticated select |
    id booking_id user_id status amount_minor currency created_at updated_at
setup_intents: authenticated select |
    id user_id status terms_version consented_at payment_method_id user_message created_at updated_at

# Sequences and schemas.
schema internal                  | authenticated usage
schema public |
    anon usage, authenticated usage, authenticator usage, autobook_bookings usage, autobook_campaigns usage,
    autobook_charge_booking usage, autobook_notify usage, autobook_offers usage, autobook_payment_methods usage,
    autobook_reconcile usage, autobook_setup_intent usage, autobook_webhook usage, public usage, service_role
    usage
sequence audit_log_id_seq        | -
sequence ledger_entries_id_seq   | -

# Functions: with whose rights they run, and who may execute them ("public" would be everybody).
arrange_payment_method(uuid,boolean,integer)                         | definer authenticated
audit_breaches()                                                     | definer service_role
audit_head(bigint)                                                   | definer service_role
audit_settled_until()                                                | definer service_role
begin_cancel(uuid,uuid)                                              | definer autobook_bookings
begin_capture(uuid,bigint)                                           | definer autobook_bookings
begin_charge(uuid,text,uuid)                                         | definer autobook_charge_booking
begin_detach(uuid)                                                   | definer authenticated
begin_refund(uuid,bigint,text,text)                                  | definer autobook_bookings
begin_void(uuid)                                                     | definer autobook_bookings
campaign_preflight(uuid)                                             | definer authenticated
campaign_timeline(uuid,integer,timestamp with time zone,text)        | invoker authenticated
claim_notifications(integer,integer)                                 | definer autobook_notify
detaching_cards()                                                    | definer autobook_reconcile
due_bookings(integer)                                                | definer autobook_reconcile
erase_user(uuid)                                                     | definer service_role
events_seen_until(timestamp with time zone)                          | definer autobook_reconcile
expire_campaigns(boolean)                                            | definer autobook_reconcile
export_user(uuid)                                                    | definer service_role
finish_detach(text) |
    definer autobook_payment_methods autobook_reconcile
ingest_offers(jsonb)                                                 | definer autobook_offers
invariant_breaches()                                                 | definer autobook_reconcile service_role
move_campaign(uuid,text)                                             | definer authenticated
operational_numbers(integer)                                         | definer autobook_reconcile service_role
operational_series(integer,integer)                                  | definer service_role
reapply_events(boolean,integer)                                      | definer autobook_reconcile
receive_event(jsonb) |
    definer autobook_reconcile autobook_webhook
record_setup_intent(uuid,text,text,text,text,text)                   | definer autobook_setup_intent
report_breaches(jsonb)                                               | definer autobook_reconcile
settle_notification(uuid,integer,text,text)                          | definer autobook_notify
settle_payment(jsonb,uuid,boolean) |
    definer autobook_bookings autobook_charge_booking autobook_reconcile autobook_webhook
settle_refund(jsonb,boolean) |
    definer autobook_bookings autobook_charge_booking autobook_reconcile autobook_webhook
settle_setup_intent(jsonb)                                           | definer autobook_setup_intent
stop_all_campaigns(uuid)                                             | definer autobook_campaigns
take_step(uuid)                                                      | definer autobook_reconcile
unknown_events(text[])                                               | definer autobook_reconcile
unpaid_confirmations(timestamp with time zone,timestamp with time zone,text[],integer) | definer autobook_reconcile
unsettled_payments(jsonb)                                            | definer autobook_reconcile
waiting_matches(integer)                                             | definer autobook_reconcile
warn_of_ending_holds(boolean)                                        | definer autobook_reconcile
warn_of_expiring_cards(boolean)                                      | definer autobook_reconcile
internal.actor()                                                     | invoker -
internal.age_seconds(timestamp with time zone)                       | invoker -
internal.apply_early_events(text)                                    | invoker -
internal.apply_event(text,jsonb)                                     | invoker -
internal.apply_ledger_entry()                                        | invoker -
internal.audit()                                                     | definer -
internal.audit_hash(text,audit_log)                                  | invoker -
internal.auditable(jsonb)                                            | invoker -
internal.audited_rows()                                              | invoker -
internal.booking_json(uuid)                                          | invoker -
internal.bury_notification(notifications,text)                       | invoker -
internal.call_off(uuid,text,text)                                    | invoker -
internal.card_json(payment_methods)                                  | invoker -
internal.charge_step(bookings,attempts)                              | invoker -
internal.check_transition()                                          | invoker -
internal.check_ending()                                              | invoker -
internal.choose_card()                                               | invoker -
internal.clock()                                                     | invoker authenticated
internal.close_booking(bookings,attempts,jsonb)                      | invoker -
internal.complete_campaign(uuid)                                     | invoker -
internal.confirm_booking(bookings,attempts,jsonb)                    | invoker -
internal.count_bookings()                                            | invoker -
internal.count_refund(bookings,refunds,ledger_kind)                  | invoker -
internal.dispute_rank(text)                                          | invoker -
internal.due_since()                                                 | invoker -
internal.ended_payments(timestamp with time zone)                    | invoker -
internal.end_attempt(uuid,attempt_status,jsonb)                      | invoker -
internal.end_dispute(bookings,jsonb)                                 | invoker -
internal.enrich_attempt(jsonb)                                       | invoker -
internal.fall_due(bookings)                                          | invoker -
internal.find_booking(jsonb,uuid)                                    | invoker -
internal.find_refund(jsonb)                                          | invoker -
internal.finding(text,text,text)                                     | invoker -
internal.give_up(uuid,text,text)                                     | invoker -
internal.go_on(jsonb,boolean)                                        | invoker -
internal.guard_booking()                                             | invoker -
internal.guard_offer()                                               | invoker -
internal.hold_expired_sentence()                                     | invoker -
internal.is_known_charge(attempts,text)                              | invoker -
internal.lock_payment(text)                                          | invoker -
internal.masked(text,jsonb)                                          | invoker -
internal.is_old_news(attempts,jsonb,uuid)                            | invoker -
internal.leave_unknown(uuid)                                         | invoker -
internal.lock_booking(uuid,uuid)                                     | invoker -
internal.lock_booking_of_payment(text)                               | invoker -
internal.may_surface(bookings,attempts)                              | invoker -
internal.milliseconds(timestamp with time zone,timestamp with time zone)| invoker -
internal.next_step(uuid,boolean)                                     | invoker -
internal.notification_address(uuid)                                  | invoker -
internal.notification_is_overtaken(notifications)                    | invoker -
internal.notification_json(notifications)                            | invoker -
internal.notify_user(uuid,text,text,uuid,uuid,jsonb)                 | invoker -
internal.offer_verdict(campaigns,offers,currencies)                  | invoker -
internal.pause_campaign(uuid,pause_reason)                           | invoker -
internal.pending_step(bookings)                                      | invoker -
internal.pick_card(campaigns,uuid)                                   | invoker -
internal.problem(integer,text,text)                                  | invoker authenticated
internal.radar_metadata(campaigns,payment_methods)                   | invoker -
internal.reconsider_offers(campaigns)                                | invoker -
internal.refuse_change()                                             | invoker -
internal.release_reserve(bookings,bigint)                            | invoker -
internal.remove_card(payment_methods)                                | invoker -
internal.report_incident(text,text,uuid,text)                        | invoker -
internal.request_header(text)                                        | invoker -
internal.requested(uuid)                                             | invoker -
internal.retire_card(payment_methods,payment_method_status,text)     | invoker -
internal.retry(bookings,campaigns,internal.settings)                 | invoker -
internal.save_card(uuid,jsonb)                                       | invoker -
internal.settle_card(jsonb)                                          | invoker -
internal.settle_customer_deleted(jsonb)                              | invoker -
internal.settle_decline(bookings,attempts,jsonb)                     | invoker -
internal.settle_dispute(jsonb)                                       | invoker -
internal.settle_fraud_warning(jsonb)                                 | invoker -
internal.settle_hold(bookings,attempts,jsonb)                        | invoker -
internal.settle_hold_expired(jsonb)                                  | invoker -
internal.settle_looked_up(bookings,attempts,jsonb)                   | invoker -
internal.settle_payment(jsonb,uuid)                                  | invoker -
internal.settle_pending(bookings,attempts,jsonb,uuid)                | invoker -
internal.settle_refund(jsonb)                                        | invoker -
internal.settle_refusal(bookings,attempts,jsonb,uuid)                | invoker -
internal.settle_review(jsonb)                                        | invoker -
internal.settle_setup_intent(jsonb)                                  | invoker -
internal.start_attempt(bookings,uuid)                                | invoker -
internal.time_event()                                                | invoker -
internal.touch_updated_at()                                          | invoker -
internal.try_event(text,jsonb)                                       | invoker -
internal.velocity_exceeded(uuid,uuid)                                | invoker -
"""


def parse(text: str) -> dict[str, str]:
    """`object | who may what`, one a line; what is indented goes on."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("    "):
            found[name] += " " + line
        elif line and not line.startswith("#"):
            name, _, found[name] = (part.strip() for part in line.partition("|"))
    return {name: " ".join(value.split()) for name, value in found.items()}


def differences(observed: dict[str, str], expected: dict[str, str]) -> dict[str, str]:
    """Object -> in what it is not as it was written down."""
    found = {name: f"is not listed: {observed[name]}" for name in observed.keys() - expected.keys()}
    found |= dict.fromkeys(expected.keys() - observed.keys(), "is gone")
    found |= {
        name: f"{observed[name]} instead of {expected[name]}"
        for name in observed.keys() & expected.keys()
        if observed[name] != expected[name]
    }
    return dict(sorted(found.items()))


def found_wrong(db: psycopg.Connection, people: People, only: str | None = None) -> dict[str, str]:
    """What the detector says: with `only`, the rows of that relation alone are tried."""
    expected = parse(EXPECTED)
    if only is not None:
        expected = {
            name: value
            for name, value in expected.items()
            if not name.startswith("rows of ") or name == f"rows of {only}"
        }
    return differences(matrix(db, people, only), expected)


def test_everything_is_as_it_was_written_down(project: psycopg.Connection) -> None:
    assert found_wrong(project, People.settle_in(project)) == {}


def test_the_expected_table_is_read_whole() -> None:
    expected = parse(EXPECTED)
    rows = [value.split(" ") for name, value in expected.items() if name.startswith("rows of ")]
    assert {len(cells) for cells in rows} == {len(ACTORS)}
    assert {cell for cells in rows for cell in cells[3:]} == {"----"}
    assert not [name for name, value in expected.items() if not value]


# What somebody may do to the schema by mistake -> the relation to look at, what is said of which object.
MISTAKES = {
    "a policy for reading that lets everybody": (
        "alter policy bookings_read_own on public.bookings using (true)",
        "rows of bookings",
        "r--- r---",
    ),
    "a policy for editing that lets everybody": (
        "alter policy campaigns_edit_own on public.campaigns using (true) with check (true)",
        "rows of campaigns",
        "rcu- --u-",
    ),
    "a policy for creating that lets everybody, and the column for it": (
        """alter policy campaigns_create_own on public.campaigns with check (true);
        grant insert (user_id) on public.campaigns to authenticated""",
        "rows of campaigns",
        "rcu- -c--",
    ),
    "a policy for deleting": (
        """grant delete on public.matches to authenticated;
        create policy anybody on public.matches for delete to authenticated using (true)""",
        "rows of matches",
        "r--d ---d",
    ),
    "row-level security switched off": (
        "alter table public.customers disable row level security",
        "rows of customers",
        "r--- r--- r---",
    ),
    "a view with its owner's rights": (
        "alter view public.booking_view set (security_invoker = false)",
        "rows of booking_view",
        "r--- r--- r---",
    ),
    "a table for service_role": (
        "grant select on public.notifications to service_role",
        "rows of notifications",
        "r--- ---- ---- ---- r---",
    ),
    "a table for one function": (
        "alter table public.refunds disable row level security; grant select on public.refunds to autobook_offers",
        "rows of refunds",
        ",r---:autobook_offers",
    ),
    "a column for users": (
        "grant select (decline_code) on public.attempts to authenticated",
        "attempts: authenticated select",
        "decline_code",
    ),
    "a new column of a table that users see whole": (
        "alter table public.matches add column our_margin integer",
        "matches: authenticated select",
        "our_margin",
    ),
    "truncate": ("grant truncate on public.audit_log to anon", "audit_log: anon truncate", "the table"),
    "a function for everybody": (
        "grant execute on function public.begin_charge(uuid, text, uuid) to public",
        "begin_charge(uuid,text,uuid)",
        "definer anon authenticated",
    ),
    "a function that runs with its owner's rights": (
        "alter function public.campaign_timeline(uuid, integer, timestamptz, text) security definer",
        "campaign_timeline(uuid,integer,timestamp with time zone,text)",
        "definer authenticated instead of invoker",
    ),
    "one role that is another": (
        "grant service_role to authenticated",
        "erase_user(uuid)",
        "definer authenticated service_role",
    ),
    "a new role for tokens": (
        "create role autobook_new; grant autobook_new to authenticator; grant insert on public.offers to autobook_new",
        "offers: autobook_new insert",
        "amount_minor",
    ),
    "a sequence": (
        "grant usage on sequence public.audit_log_id_seq to anon",
        "sequence audit_log_id_seq",
        "anon usage",
    ),
    "a schema": ("grant create on schema public to authenticated", "schema public", "authenticated create"),
    "a new table": ("create table public.planted (id integer primary key)", "rows of planted", "is not listed"),
    "a new view": (
        "create view internal.planted as select * from public.offers",
        "rows of internal.planted",
        "is not listed",
    ),
    "a new function": (
        "create function public.planted(text) returns integer language sql as 'select 1'",
        "planted(text)",
        "is not listed: invoker",
    ),
    "another function of the same name": (
        "create function public.erase_user(text) returns integer language sql as 'select 1'",
        "erase_user(text)",
        "is not listed",
    ),
    "a new sequence": ("create sequence public.planted", "sequence planted", "is not listed"),
    "a table that is gone": ("drop table public.incidents", "rows of incidents", "is gone"),
}


@pytest.mark.parametrize("project_url", ["older"], indirect=True)  # what is proven is the detector, the same for both
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(project: psycopg.Connection, mistake: str) -> None:
    """The detector's own proof, each mistake made in a transaction that is undone."""
    statement, name, said = MISTAKES[mistake]
    people = People.settle_in(project)
    relation = name.removeprefix("rows of ") if name.startswith("rows of ") else "none"
    assert name not in found_wrong(project, people, relation)

    project.execute(statement.encode())

    assert said in found_wrong(project, people, relation).get(name, "nothing")


def test_only_public_and_internal_hold_anything_of_ours(project: psycopg.Connection) -> None:
    """What lies elsewhere would not be in the matrix: the migrations' own ledger is, and nobody gets at it."""
    elsewhere = {
        name
        for (name,) in project.execute(
            """select nspname from pg_namespace
            where nspname !~ '^pg_' and nspname not in ('information_schema', 'extensions', 'auth')"""
        )
    }
    assert elsewhere - set(SCHEMAS) == {"supabase_migrations"}
    assert (
        project.execute(
            """select rolname from pg_roles where pg_has_role('authenticator', oid, 'member') and not rolsuper
        and has_schema_privilege(oid, 'supabase_migrations', 'USAGE')"""
        ).fetchall()
        == []
    )
