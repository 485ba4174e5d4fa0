-- migrate:up
-- The numbers by which somebody sees whether it works: payments, latencies, what is late, what is broken. Reconcile tells
-- them to CloudWatch, `make status` shows them; docs/observability.md says what each means.

-- What the numbers look for. None of these columns changes once it is set, so that no update costs more than before.
create index attempts_settled_idx on public.attempts (settled_at) where settled_at is not null;
create index stripe_events_received_idx on public.stripe_events (received_at);
create index incidents_open_idx on public.incidents (created_at) where resolved_at is null;
create index campaigns_created_idx on public.campaigns (created_at);
create index notifications_sent_idx on public.notifications (sent_at) where sent_at is not null;

alter table public.stripe_events add column processing_ms integer check (processing_ms >= 0);
comment on column public.stripe_events.processing_ms is
'How long the transaction that stored and applied it took, waiting for locks included; null before 0140. It is the
database''s part of what the webhook takes.';

create function internal.time_event() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  -- The transaction's own clock, not internal.clock(): a simulation's hours are no processing.
  new.processing_ms := round(extract(epoch from clock_timestamp() - transaction_timestamp()) * 1000);
  return new;
end
$$;
comment on function internal.time_event() is 'Trigger: how long the first processing of an event took.';

create trigger a_time before update of status on public.stripe_events
for each row when (old.result = 'received') execute function internal.time_event();

create function internal.ended_payments(p_since timestamptz) returns table (
  booking_id uuid, ended_at timestamptz, succeeded boolean, auto_booking_ms double precision
)
language sql stable
set search_path = ''
as $$
  select
    b.id, e.ended_at, b.status <> 'failed',
    case
      when
        b.confirmed_at is not null and b.capture = 'automatic' and c.auto_book
        -- What waited for its cardholder or for a bank's next day was not ours to hasten.
        and not exists (
          select from public.notifications as n
          where n.booking_id = b.id and n.kind in ('authentication_required', 'booking_retrying')
        )
      then extract(epoch from b.confirmed_at - m.considered_at) * 1000
    end
  from public.bookings as b
  inner join public.campaigns as c on b.campaign_id = c.id
  left join public.matches as m on b.campaign_id = m.campaign_id and b.offer_id = m.offer_id
  cross join lateral (
    select coalesce(b.confirmed_at, max(a.settled_at), max(a.created_at)) as ended_at
    from public.attempts as a
    where a.booking_id = b.id
  ) as e
  where
    b.status in ('confirmed', 'refunded', 'authorized', 'failed')
    and b.id in (
      select s.booking_id from public.attempts as s where s.settled_at >= p_since
      union all
      select h.booking_id from public.attempts as h where h.status = 'authorized'
    )
    and e.ended_at >= p_since
$$;
comment on function internal.ended_payments(timestamptz) is
'Bookings whose payment has ended since then: the money was taken or held, or it failed. What a user called off is neither.
auto_booking_ms: from the offer''s arrival to the confirmation, null where nobody hurried.';

create function internal.due_since() returns timestamptz
language sql stable
set search_path = ''
as $$
  -- updated_at moves with each lease; the audit log has the last change that meant something.
  select min(greatest(
    coalesce(
      (
        select min(r.created_at) from public.refunds as r
        where r.booking_id = b.id and r.status = 'requested' and d.item ->> 'why' = 'to_be_refunded'
      ),
      (select max(l.at) from public.audit_log as l where l.table_name = 'bookings' and l.row_id = b.id::text),
      b.created_at
    ),
    b.retry_at,
    b.action_expires_at,
    case
      when d.item ->> 'why' = 'hold_ends_soon' then b.capture_before - make_interval(secs => s.hold_margin_seconds)
    end
  ))
  from jsonb_array_elements(public.due_bookings(1000)) as d (item)
  inner join public.bookings as b on b.id = (d.item ->> 'booking_id')::uuid
  cross join internal.settings as s
$$;
comment on function internal.due_since() is
'Since when the booking that has waited longest for something we can do now has waited; null: none waits.';

create function internal.age_seconds(p_since timestamptz) returns double precision
language sql stable
set search_path = ''
as $$
  select coalesce(greatest(extract(epoch from internal.clock() - p_since), 0), 0)::double precision
$$;
comment on function internal.age_seconds(timestamptz) is 'Seconds since then, 0 for never.';

create function public.operational_numbers(p_window_seconds integer default 3600) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  with since as (
    select internal.clock() - make_interval(secs => p_window_seconds) as at
  ),
  payments as (
    select
      count(*) as ended,
      count(*) filter (where p.succeeded) as succeeded,
      count(p.auto_booking_ms) as auto_bookings,
      percentile_cont(0.5) within group (order by p.auto_booking_ms) as p50_ms,
      percentile_cont(0.95) within group (order by p.auto_booking_ms) as p95_ms
    from since as s
    cross join lateral internal.ended_payments(s.at) as p
  ),
  events as (
    select
      count(*) as received,
      count(*) filter (where e.status = 'flagged') as flagged,
      percentile_cont(0.95) within group (order by e.processing_ms) as p95_ms,
      percentile_cont(0.95) within group (
        order by greatest(extract(epoch from e.received_at - e.stripe_created_at)::double precision, 0)
      ) as delivery_p95_seconds
    from public.stripe_events as e
    cross join since as s
    where e.received_at >= s.at
  ),
  failed_events as (
    select count(*) as events, min(e.received_at) as oldest_at from public.stripe_events as e where e.status = 'failed'
  ),
  unsettled as (
    select
      count(*) filter (where a.status = 'started') as started,
      min(a.created_at) filter (where a.status = 'started') as oldest_at,
      count(*) filter (where a.status = 'processing') as processing
    from public.attempts as a
    where a.status in ('started', 'processing')
  ),
  waiting as (
    select count(*) as matches, min(m.considered_at) as oldest_at from public.matches as m where m.state = 'waiting'
  ),
  owed as (
    select count(*) as due, min(n.next_attempt_at) as oldest_at
    from public.notifications as n
    where n.status = 'pending' and n.next_attempt_at <= internal.clock()
  ),
  open_incidents as (
    select count(*) as incidents, min(i.created_at) as oldest_at from public.incidents as i where i.resolved_at is null
  )
  select jsonb_build_object(
    'window_seconds', p_window_seconds,
    'payments_ended', p.ended,
    'payments_succeeded', p.succeeded,
    'payment_success_rate', p.succeeded::double precision / nullif(p.ended, 0),
    'auto_bookings', p.auto_bookings,
    'auto_booking_latency_p50_ms', p.p50_ms,
    'auto_booking_latency_p95_ms', p.p95_ms,
    'campaigns_created', (
      select count(*) from public.campaigns as c cross join since as s where c.created_at >= s.at
    ),
    'events_received', e.received,
    'events_flagged', e.flagged,
    'webhook_processing_p95_ms', e.p95_ms,
    'webhook_delivery_p95_seconds', e.delivery_p95_seconds,
    'failed_events', f.events,
    'oldest_failed_event_age_seconds', internal.age_seconds(f.oldest_at),
    'unsettled_attempts', u.started,
    'oldest_unsettled_attempt_age_seconds', internal.age_seconds(u.oldest_at),
    'processing_attempts', u.processing,
    'due_bookings', jsonb_array_length(public.due_bookings(1000)),
    'oldest_due_booking_age_seconds', internal.age_seconds(internal.due_since()),
    'waiting_matches', w.matches,
    'oldest_waiting_match_age_seconds', internal.age_seconds(w.oldest_at),
    'notifications_due', o.due,
    'notification_lag_seconds', internal.age_seconds(o.oldest_at),
    'notifications_sent', (
      select count(*) from public.notifications as n cross join since as s where n.sent_at >= s.at
    ),
    'unresolved_incidents', i.incidents,
    'oldest_incident_age_seconds', internal.age_seconds(i.oldest_at),
    'events_watermark_age_seconds', (select internal.age_seconds(r.events_seen_until) from internal.reconcile_state as r)
  )
  from payments as p
  cross join events as e
  cross join failed_events as f
  cross join unsettled as u
  cross join waiting as w
  cross join owed as o
  cross join open_incidents as i
$$;
comment on function public.operational_numbers(integer) is
'How things stand, and how the last p_window_seconds went. null: nothing happened that the number could be of. Counts and
ages only, no id. Definer: its callers hold no rights on the tables.';

create function public.operational_series(p_window_seconds integer default 3600, p_buckets integer default 30) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  with buckets as (
    select
      n.place,
      internal.clock() - make_interval(secs => p_window_seconds::double precision * (p_buckets - n.place) / p_buckets)
        as starts_at,
      internal.clock() - make_interval(secs => p_window_seconds::double precision * (p_buckets - n.place - 1) / p_buckets)
        as ends_at
    from generate_series(0, least(p_buckets, 200) - 1) as n (place)
  ),
  payments as materialized (
    select p.* from internal.ended_payments(internal.clock() - make_interval(secs => p_window_seconds)) as p
  )
  select coalesce(jsonb_agg(
    jsonb_build_object(
      'starts_at', b.starts_at,
      'payments_ended', p.ended,
      'payments_succeeded', p.succeeded,
      'auto_booking_latency_p95_ms', p.p95_ms,
      'events_received', e.received,
      'webhook_processing_p95_ms', e.p95_ms
    ) order by b.place
  ), '[]')
  from buckets as b
  cross join lateral (
    select
      count(*) as ended,
      count(*) filter (where y.succeeded) as succeeded,
      percentile_cont(0.95) within group (order by y.auto_booking_ms) as p95_ms
    from payments as y
    where y.ended_at >= b.starts_at and y.ended_at < b.ends_at
  ) as p
  cross join lateral (
    select count(*) as received, percentile_cont(0.95) within group (order by v.processing_ms) as p95_ms
    from public.stripe_events as v
    where v.received_at >= b.starts_at and v.received_at < b.ends_at
  ) as e
$$;
comment on function public.operational_series(integer, integer) is
'The same over time: the window in so many equal parts (200 at most), oldest first. Definer: as operational_numbers.';
