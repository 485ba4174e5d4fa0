-- migrate:up
-- What everything else stands on: nothing is open to anybody until policies/ says so, and the helpers that
-- tables and functions share.

-- Hosted Supabase grants new objects in `public` to anon, authenticated and service_role by default privileges,
-- and PostgreSQL lets public execute every new function. Both are undone before the first object is made, so that
-- a half-finished deploy is a closed one.
alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from public, anon, authenticated, service_role;
alter default privileges revoke execute on functions from public;

create schema internal;
comment on schema internal is
'Helpers, transition tables and settings. Not exposed through the API: PostgREST serves `public` only.';
revoke all on schema internal from public;

create function internal.clock() returns timestamptz
language sql stable
set search_path = ''
as $$ select now() $$;
comment on function internal.clock() is
'The one clock of the money functions. A simulation replaces it to let hours pass; production never does.';

create function internal.request_header(p_name text) returns text
language sql stable
set search_path = ''
as $$
  select nullif(current_setting('request.headers', true), '')::json ->> p_name
$$;
comment on function internal.request_header(text) is
'A header of the HTTP request that PostgREST serves in this transaction, null outside of one.';

create function internal.actor() returns text
language sql stable
set search_path = ''
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub',
    nullif(current_setting('request.jwt.claims', true), '')::json ->> 'role',
    session_user::text
  )
$$;
comment on function internal.actor() is
'Who acts: the user of the token, else the role of the key, else the database login.';

create function internal.problem(p_status integer, p_code text, p_detail text default null) returns void
language plpgsql
set search_path = ''
as $$
begin
  -- PTnnn is PostgREST's way to name the HTTP status; the message is the stable problem code that
  -- functions/shared/problems.py lists, and a test holds the two lists together.
  raise exception using errcode = 'PT' || p_status, message = p_code, detail = coalesce(p_detail, '');
end
$$;
comment on function internal.problem(integer, text, text) is
'Ends the transaction with an HTTP status and a stable problem code.';

create function internal.touch_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  new.updated_at := internal.clock();
  return new;
end
$$;
comment on function internal.touch_updated_at() is 'Trigger: stamps updated_at.';

create function internal.refuse_change() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  raise exception using
    errcode = '42501',
    message = format('%s rows are never changed or deleted', tg_table_name);
end
$$;
comment on function internal.refuse_change() is
'Trigger: for append-only tables, and against deleting what has seen money. Holds for the owner too.';

create table internal.settings (
  only_row                      boolean primary key default true check (only_row),
  velocity_bookings_per_hour    integer not null default 30 check (velocity_bookings_per_hour > 0),
  velocity_cards_per_day        integer not null default 5 check (velocity_cards_per_day > 0),
  authentication_window_seconds integer not null default 86400 check (authentication_window_seconds > 0),
  retry_backoff_seconds         integer not null default 3600 check (retry_backoff_seconds > 0),
  retries_per_booking           integer not null default 4 check (retries_per_booking between 0 and 15),
  attempts_per_card_in_30_days  integer not null default 15 check (attempts_per_card_in_30_days between 1 and 15),
  lease_seconds                 integer not null default 35 check (lease_seconds > 0),
  key_lifetime_seconds          integer not null default 82800 check (key_lifetime_seconds > 0),
  hold_margin_seconds           integer not null default 21600 check (hold_margin_seconds > 0),
  match_resend_seconds          integer not null default 60 check (match_resend_seconds > 0)
);
alter table internal.settings enable row level security;
comment on table internal.settings is 'One row: limits that operators may turn without a release.';
comment on column internal.settings.velocity_bookings_per_hour is
'Bookings one user may begin in an hour. Thirty is more than a traveller wants and less than a thief does.';
comment on column internal.settings.velocity_cards_per_day is
'Distinct cards one user may be charged on in a day: card testers use many, travellers few.';
comment on column internal.settings.authentication_window_seconds is
'How long a cardholder has to authenticate, if the offer lives that long. A day spans every time zone''s night.';
comment on column internal.settings.retry_backoff_seconds is
'First wait before the same card is tried again; doubled with each try. Issuers ask for at least an hour.';
comment on column internal.settings.retries_per_booking is 'Tries after the first with the same card for one booking.';
comment on column internal.settings.attempts_per_card_in_30_days is
'Visa fines merchants above 15 tries of one declined card in 30 days (https://docs.stripe.com/declines).';
comment on column internal.settings.lease_seconds is
'How long a caller has a booking''s next Stripe call to itself. Above the 29 s an HTTP API waits; only a courtesy:
correctness rests on idempotency keys.';
comment on column internal.settings.key_lifetime_seconds is
'How long an attempt is replayed under its idempotency key. Stripe keeps keys for at least 24 hours
(https://docs.stripe.com/api/idempotent_requests); an hour less, so that no replay meets a key that was just dropped.';
comment on column internal.settings.hold_margin_seconds is
'How long before a hold ends it is captured or voided: time for a bad night at the bank, or ours.';
comment on column internal.settings.match_resend_seconds is
'A match that has waited this long has lost its message; the queue takes seconds.';
insert into internal.settings default values;
