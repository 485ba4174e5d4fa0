-- migrate:up
-- Before Postgres 18 a function in SQL is parsed and planned anew each time it is called from another one, unless it is
-- written into its caller, which a search path of its own forbids. What is called for each charge, event and row of the
-- audit log was up to five times as slow on 15 and 17 for it. PL/pgSQL keeps its plans. The functions say the same.

create or replace function internal.clock() returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
  return now();
end
$$;

create or replace function internal.call_off(p_booking_id uuid, p_code text, p_user_message text) returns void
language plpgsql
set search_path = ''
as $$
begin
  update public.bookings as b set
    closing_as = 'cancelled', failure_code = p_code, user_message = coalesce(p_user_message, b.user_message)
  where b.id = p_booking_id and b.closing_as is null;
end
$$;

create or replace function internal.give_up(p_booking_id uuid, p_code text, p_user_message text) returns void
language plpgsql
set search_path = ''
as $$
begin
  update public.bookings as b set
    closing_as = coalesce(b.closing_as, 'failed'), failure_code = coalesce(b.failure_code, p_code),
    user_message = coalesce(p_user_message, b.user_message)
  where b.id = p_booking_id;
end
$$;

create or replace function internal.leave_unknown(p_booking_id uuid) returns text
language plpgsql
set search_path = ''
as $$
begin
  update public.bookings as b set leased_until = null where b.id = p_booking_id;
  return 'unknown';
end
$$;

create or replace function internal.is_known_charge(p_attempt public.attempts, p_charge_id text) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  -- A bank that takes its time has its Charge on the attempt already when it declines.
  return exists (
    select from public.attempts as a
    where
      a.booking_id = p_attempt.booking_id
      and p_charge_id = any(a.stripe_charge_ids)
      and (a.id <> p_attempt.id or p_attempt.status <> 'processing')
  );
end
$$;

create or replace function internal.is_old_news(
  p_attempt public.attempts, p_facts jsonb, p_attempt_id uuid
) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  -- An answer names its attempt. An event does not: another card's news, or news older than the attempt, is not its own.
  return p_attempt.id is null
    or p_attempt.status = 'authorized'
    or case
      when p_attempt_id is not null then p_attempt_id <> p_attempt.id
      else
        (p_facts ->> 'observed_at')::timestamptz < date_trunc('second', p_attempt.created_at)
        or (
          -- A cardholder who authenticates may choose another card on the page.
          p_attempt.status <> 'requires_action'
          and p_facts ->> 'stripe_payment_method_id' is distinct from (
            select p.stripe_payment_method_id from public.payment_methods as p where p.id = p_attempt.payment_method_id
          )
        )
    end;
end
$$;

create or replace function internal.may_surface(p_booking public.bookings, p_attempt public.attempts) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return exists (
    select from internal.settings as s
    cross join public.campaigns as c
    cross join public.offers as o
    where
      p_attempt.status = 'started'
      and p_attempt.replayed_error_at + make_interval(secs => s.replayed_error_patience_seconds) > internal.clock()
      and c.id = p_booking.campaign_id and c.status = 'active' and c.expires_at > internal.clock()
      and o.id = p_booking.offer_id and o.expires_at > internal.clock()
  );
end
$$;

create or replace function internal.report_incident(
  p_kind text, p_dedupe_key text, p_booking_id uuid, p_detail text
) returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into public.incidents (kind, dedupe_key, booking_id, detail)
  values (p_kind, p_kind || ':' || p_dedupe_key, p_booking_id, p_detail)
  on conflict (dedupe_key) do nothing;
end
$$;

create or replace function internal.dispute_rank(p_status text) returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
  return case
    when p_status = 'warning_needs_response' then 1
    when p_status = 'warning_under_review' then 2
    when p_status = 'needs_response' then 3
    when p_status = 'under_review' then 4
    else 5
  end;
end
$$;

create or replace function public.settle_payment(
  p_facts jsonb, p_attempt_id uuid default null, p_take_next boolean default false
) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
begin
  return internal.go_on(internal.settle_payment(p_facts, p_attempt_id), p_take_next);
end
$$;

create or replace function public.settle_refund(p_facts jsonb, p_take_next boolean default false) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
begin
  return internal.go_on(internal.settle_refund(p_facts), p_take_next);
end
$$;

create or replace function internal.masked(p_key text, p_value jsonb) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return case
    when
      p_value <> 'null'
      and p_key in (
        'email', 'title', 'criteria', 'idempotency_key', 'idempotency_fingerprint', 'last4', 'country', 'wallet'
      )
      then to_jsonb('(personal)'::text)
    else p_value
  end;
end
$$;

create or replace function internal.audit_hash(p_before text, p_entry public.audit_log) returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  -- As JSON, so that nothing can be moved from one field to the next: the request id is the caller's own words.
  return encode(sha256(convert_to(jsonb_build_array(
    p_before, extract(epoch from p_entry.at), p_entry.actor, p_entry.role, p_entry.request_id, p_entry.table_name,
    p_entry.row_id, p_entry.action, p_entry.old, p_entry.new
  )::text, 'UTF8')), 'hex');
end
$$;

create or replace function internal.actor() returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub',
    nullif(current_setting('request.jwt.claims', true), '')::json ->> 'role',
    session_user::text
  );
end
$$;

create or replace function internal.request_header(p_name text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return nullif(current_setting('request.headers', true), '')::json ->> p_name;
end
$$;

create or replace function internal.auditable(p_row jsonb) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  -- Our own bookkeeping would double the log and tell nothing. What identifies a person is noted, not kept: the log can
  -- never be erased, and a person must be.
  return (
    select jsonb_object_agg(field.key, internal.masked(field.key, field.value))
    from jsonb_each(p_row - '{updated_at, leased_until}'::text[]) as field
  );
end
$$;

create or replace function internal.lock_payment(p_payment_intent_id text) returns void
language plpgsql
set search_path = ''
as $$
begin
  -- Taken before all row locks. An event and the answer that says whose payment it speaks of could otherwise commit at the
  -- same moment, neither having seen the other. Transaction-scoped, as a pooler wants it.
  perform pg_advisory_xact_lock(hashtextextended(p_payment_intent_id, 0))
  where p_payment_intent_id is not null;
end
$$;

create or replace function internal.find_booking(p_facts jsonb, p_attempt_id uuid) returns uuid
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce(
    (select a.booking_id from public.attempts as a where a.id = p_attempt_id),
    (
      select b.id from public.bookings as b
      where b.stripe_payment_intent_id = p_facts ->> 'payment_intent_id'
    ),
    (
      select b.id from public.bookings as b
      inner join public.customers as c on b.user_id = c.user_id
      where
        b.id::text = p_facts ->> 'booking_id'
        and c.stripe_customer_id = p_facts ->> 'stripe_customer_id'
    )
  );
end
$$;

create or replace function internal.booking_json(p_booking_id uuid) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select to_jsonb(v) from public.booking_view as v where v.id = p_booking_id
  );
end
$$;

create or replace function internal.offer_verdict(
  p_campaign public.campaigns, p_offer public.offers, p_currency public.currencies
) returns public.match_verdict
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when p_campaign.status <> 'active' or p_campaign.expires_at <= internal.clock() then 'campaign_not_active'
    when p_offer.expires_at <= internal.clock() then 'offer_expired'
    when not p_offer.attributes @> p_campaign.criteria then 'criteria_mismatch'
    when p_offer.currency <> p_campaign.currency then 'currency_mismatch'
    when p_offer.amount_minor > p_campaign.max_price_minor then 'over_max_price'
    when
      p_offer.amount_minor < p_currency.minimum_charge_minor or p_offer.amount_minor % p_currency.amount_step_minor <> 0
      then 'amount_below_minimum'
    when p_campaign.bookings_in_flight + p_campaign.bookings_confirmed >= p_campaign.max_bookings
      then 'max_bookings_reached'
    when p_offer.amount_minor > p_campaign.budget_minor - p_campaign.reserved_minor - p_campaign.spent_minor
      then 'over_budget'
    else 'matched'
  end::public.match_verdict;
end
$$;

create or replace function internal.notify_user(
  p_user_id uuid, p_kind text, p_dedupe_key text, p_campaign_id uuid, p_booking_id uuid, p_data jsonb default '{}'
) returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into public.notifications (user_id, kind, dedupe_key, campaign_id, booking_id, data)
  values (p_user_id, p_kind, p_kind || ':' || p_dedupe_key, p_campaign_id, p_booking_id, jsonb_strip_nulls(p_data))
  on conflict (dedupe_key) do nothing;
end
$$;

create or replace function internal.pick_card(p_campaign public.campaigns, p_booking_id uuid default null)
returns public.payment_methods
language plpgsql stable
set search_path = ''
as $$
declare
  picked public.payment_methods;
begin
  -- The campaign's card; without one, the default; then, if the user agreed to backups, the chain. A booking never
  -- falls back to a card that it has tried.
  select p.*
  into picked
  from public.payment_methods as p
  where
    p.user_id = p_campaign.user_id
    and p.status = 'usable'
    and (
      p_campaign.use_backups
      or p.id = p_campaign.payment_method_id
      or (p_campaign.payment_method_id is null and p.is_default)
    )
    and not exists (
      select from public.attempts as a where a.booking_id = p_booking_id and a.payment_method_id = p.id
    )
  order by (p.id = p_campaign.payment_method_id) desc nulls last, p.is_default desc, p.backup_position nulls last,
    p.created_at, p.id
  limit 1;
  return picked;
end
$$;

create or replace function internal.radar_metadata(p_campaign public.campaigns, p_card public.payment_methods) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  -- Strings, as Stripe's metadata are; ages in whole days, counts without the booking that is beginning.
  return jsonb_build_object(
    'card_age_days', (internal.clock()::date - p_card.created_at::date)::text,
    'campaign_age_days', (internal.clock()::date - p_campaign.created_at::date)::text,
    'bookings_last_hour', (
      select count(*)::text from public.bookings as b
      where b.user_id = p_campaign.user_id and b.created_at > internal.clock() - interval '1 hour'
    ),
    'declines_last_day', (
      select count(*)::text from public.attempts as a
      where
        a.user_id = p_campaign.user_id
        and a.status = 'declined'
        and a.created_at > internal.clock() - interval '1 day'
    )
  );
end
$$;

create or replace function internal.notification_json(p_notification public.notifications) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'id', p_notification.id,
      'try', p_notification.tries,
      'kind', p_notification.kind,
      'data', p_notification.data,
      'created_at', p_notification.created_at,
      'email', internal.notification_address(p_notification.user_id),
      'campaign', case when c.id is not null then jsonb_build_object('id', c.id, 'title', c.title) end,
      'booking', case when b.id is not null then jsonb_build_object(
        'id', b.id, 'amount_minor', b.amount_minor, 'currency', b.currency
      ) end,
      'card', case when p.id is not null then jsonb_build_object(
        'brand', p.brand, 'last4', p.last4, 'exp_month', p.exp_month, 'exp_year', p.exp_year
      ) end,
      'exponent', y.exponent
    )
    from (select p_notification.*) as n
    left join public.campaigns as c on n.campaign_id = c.id
    left join public.bookings as b on n.booking_id = b.id
    left join public.currencies as y on y.code = coalesce(n.data ->> 'currency', b.currency)
    left join lateral (
      -- The card that the message is about, else the one that paid for the booking or was tried last.
      select m.* from public.payment_methods as m
      left join public.attempts as a on m.id = a.payment_method_id and a.booking_id = n.booking_id
      where
        m.user_id = n.user_id
        and case when n.data ? 'payment_method_id' then m.id::text = n.data ->> 'payment_method_id' else a.id is not null end
      order by (a.status = 'succeeded') desc nulls last, a.ordinal desc nulls last
      limit 1
    ) as p on true
  );
end
$$;

create or replace function internal.velocity_exceeded(p_user_id uuid, p_payment_method_id uuid) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select
      (
        select count(*) from public.bookings as b
        where b.user_id = p_user_id and b.created_at > internal.clock() - interval '1 hour'
      ) >= s.velocity_bookings_per_hour
      or (
        select count(distinct a.payment_method_id) from public.attempts as a
        where
          a.user_id = p_user_id
          and a.created_at > internal.clock() - interval '1 day'
          and a.payment_method_id <> p_payment_method_id
      ) >= s.velocity_cards_per_day
    from internal.settings as s
  );
end
$$;

create or replace function internal.notification_address(p_user_id uuid) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  -- Who has saved a card has a customers row, and erasing the person empties its address. Who has none yet (a campaign
  -- may end without a card) is written to where they signed up.
  return (
    select case when c.user_id is not null then nullif(c.email, '') else u.email end
    from auth.users as u
    left join public.customers as c on u.id = c.user_id
    where u.id = p_user_id and (c.user_id is not null or u.email_confirmed_at is not null)
  );
end
$$;

create or replace function internal.charge_step(p_booking public.bookings, p_attempt public.attempts) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'do', 'charge',
      'attempt_id', p_attempt.id,
      'attempt_started_at', p_attempt.created_at,
      'payment_intent_id', p_booking.stripe_payment_intent_id,
      'stripe_customer_id', c.stripe_customer_id,
      'stripe_payment_method_id', p.stripe_payment_method_id,
      'amount_minor', p_booking.amount_minor,
      'currency', p_booking.currency,
      'capture', p_booking.capture,
      -- All from committed rows: a replay under the same idempotency key must send the same parameters.
      'metadata', p_booking.radar_metadata || jsonb_build_object(
        'booking_id', p_booking.id, 'campaign_id', p_booking.campaign_id, 'attempt_id', p_attempt.id,
        'user_id', p_booking.user_id, 'offer_id', p_booking.offer_id
      )
    )
    from public.payment_methods as p
    inner join public.customers as c on p.user_id = c.user_id
    where p.id = p_attempt.payment_method_id
  );
end
$$;

create or replace function internal.release_reserve(p_booking public.bookings, p_amount_minor bigint) returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into public.ledger_entries (campaign_id, booking_id, kind, amount_minor)
  select p_booking.campaign_id, p_booking.id, 'release', p_amount_minor
  where p_amount_minor > 0;
end
$$;

create or replace function public.due_bookings(p_limit integer default 100) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('booking_id', due.id, 'why', due.why) order by due.since), '[]')
    from (
      select b.id, b.updated_at as since, case
        when b.closing_as is not null then 'to_be_cancelled_at_stripe'
        when b.status = 'charging' then 'outcome_unknown'
        when b.status = 'requires_action' then 'authentication_overdue'
        when b.status = 'retry_scheduled' then 'retry_due'
        when b.capture_amount_minor is not null then 'to_be_captured'
        else 'hold_ends_soon'
      end as why
      from public.bookings as b
      cross join internal.settings as s
      where
        (b.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized') or b.late_hold)
        and coalesce(b.leased_until, '-infinity') <= clock_timestamp()
        and (
          b.closing_as is not null
          or b.late_hold
          or (b.status = 'charging' and not exists (
            -- The bank takes its time; its event is waited for an hour before we ask.
            select from public.attempts as a
            where
              a.booking_id = b.id and a.status = 'processing' and a.updated_at + interval '1 hour' > internal.clock()
          ))
          or (b.status = 'requires_action' and b.action_expires_at <= internal.clock())
          or (b.status = 'retry_scheduled' and b.retry_at <= internal.clock())
          or (
            b.status = 'authorized'
            and (
              b.capture_amount_minor is not null
              or b.capture_before - make_interval(secs => s.hold_margin_seconds) <= internal.clock()
            )
          )
        )
      union all
      select b.id, r.created_at, 'to_be_refunded'
      from public.refunds as r
      inner join public.bookings as b on r.booking_id = b.id
      where
        r.status = 'requested'
        and b.status in ('confirmed', 'refunded', 'failed', 'cancelled')
        and coalesce(b.leased_until, '-infinity') <= clock_timestamp()
      order by since
      limit p_limit
    ) as due
  );
end
$$;

create or replace function internal.notification_is_overtaken(p_notification public.notifications) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return exists (
    select from public.bookings as b
    where
      b.id = p_notification.booking_id
      and case p_notification.kind
        when 'authentication_required' then
          b.status <> 'requires_action' or b.closing_as is not null or b.action_expires_at <= internal.clock()
        when 'booking_retrying' then b.status <> 'retry_scheduled' or b.closing_as is not null
        else false
      end
  );
end
$$;

-- Read now and then, over few rows, from plans that Postgres takes for costly: compiling them took ten times as long as
-- running them.
alter function public.due_bookings(integer) set jit = off;
alter function public.invariant_breaches() set jit = off;
alter function public.operational_numbers(integer) set jit = off;
alter function public.operational_series(integer, integer) set jit = off;
alter function internal.due_since() set jit = off;
