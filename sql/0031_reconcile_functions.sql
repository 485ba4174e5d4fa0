-- migrate:up
-- What reconcile asks and does. Everything here may run twice at once: steps are leased, the rest changes nothing the
-- second time.

create table internal.reconcile_state (
  only_row          boolean primary key default true check (only_row),
  events_seen_until timestamptz not null default now()
);
alter table internal.reconcile_state enable row level security;
comment on table internal.reconcile_state is 'One row: up to when Stripe''s events have been compared with the stored ones.';
insert into internal.reconcile_state default values;

create function public.due_bookings(p_limit integer default 100) returns jsonb
language sql stable security definer
set search_path = ''
as $$
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
$$;
comment on function public.due_bookings(integer) is
'Bookings that wait for something we can do now, and what. Definer: its caller holds no rights on the tables.';

create function public.take_step(p_booking_id uuid) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
begin
  perform internal.lock_booking(p_booking_id, null);
  return internal.next_step(p_booking_id, true);
end
$$;
comment on function public.take_step(uuid) is 'Leases the next step of a booking. Definer: see due_bookings.';

create function public.waiting_matches(p_limit integer default 500) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('campaign_id', w.campaign_id, 'offer_id', w.offer_id)), '[]')
  from (
    select m.campaign_id, m.offer_id
    from public.matches as m
    cross join internal.settings as s
    where m.state = 'waiting' and m.updated_at + make_interval(secs => s.match_resend_seconds) <= internal.clock()
    order by m.considered_at
    limit p_limit
  ) as w
$$;
comment on function public.waiting_matches(integer) is
'Matches whose message must have been lost. Definer: see due_bookings.';

create function public.expire_campaigns(p_apply boolean) returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
  expired record;
  how_many integer := 0;
begin
  for expired in
    select c.id, c.user_id, c.title from public.campaigns as c
    where c.status in ('active', 'paused') and c.expires_at <= internal.clock()
    order by c.id
  loop
    if p_apply then
      update public.campaigns as c set status = 'expired', pause_reason = null
      where c.id = expired.id and c.status in ('active', 'paused') and c.expires_at <= internal.clock();
      perform internal.notify_user(
        expired.user_id, 'campaign_expired', expired.id::text, expired.id, null, '{}'
      );
    end if;
    how_many := how_many + 1;
  end loop;
  return how_many;
end
$$;
comment on function public.expire_campaigns(boolean) is
'Ends campaigns whose time is over; counts them only unless told to apply. Definer: see due_bookings.';

create function public.warn_of_expiring_cards(p_apply boolean) returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
  card record;
  how_many integer := 0;
begin
  for card in
    select distinct p.id, p.user_id, p.exp_month, p.exp_year
    from public.campaigns as c
    inner join public.payment_methods as p
      on c.user_id = p.user_id and (c.payment_method_id = p.id or (c.payment_method_id is null and p.is_default))
    where
      c.status = 'active'
      and p.status = 'usable'
      and make_date(p.exp_year, p.exp_month, 1) + interval '1 month' <= least(
        c.expires_at, internal.clock() + interval '30 days'
      )
      and not exists (
        select from public.notifications as n
        where n.dedupe_key = format('card_expiring:%s:%s-%s', p.id, p.exp_year, p.exp_month)
      )
  loop
    if p_apply then
      perform internal.notify_user(
        card.user_id, 'card_expiring', format('%s:%s-%s', card.id, card.exp_year, card.exp_month), null, null,
        jsonb_build_object('payment_method_id', card.id, 'exp_month', card.exp_month, 'exp_year', card.exp_year)
      );
    end if;
    how_many := how_many + 1;
  end loop;
  return how_many;
end
$$;
comment on function public.warn_of_expiring_cards(boolean) is
'Warns once of each card that expires within 30 days and before an active campaign that uses it. Definer: see
due_bookings.';

create function public.reapply_events(p_apply boolean, p_limit integer default 100) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  event public.stripe_events;
  outcome jsonb;
  results jsonb := '[]';
begin
  for event in
    select * from public.stripe_events as e
    where e.status = 'failed'
    order by e.received_at
    limit p_limit
    for update skip locked
  loop
    if not p_apply then
      results := results || jsonb_build_object('event_id', event.id, 'status', 'failed', 'result', event.result);
      continue;
    end if;
    outcome := internal.try_event(event.facts ->> 'handler', event.facts -> 'facts');
    update public.stripe_events as e set
      status = (outcome ->> 'status')::public.event_status, result = outcome ->> 'result', tries = e.tries + 1,
      facts = case when outcome ->> 'status' = 'failed' then e.facts else e.facts #- '{facts,card}' end
    where e.id = event.id;
    results := results || (outcome || jsonb_build_object('event_id', event.id));
  end loop;
  return results;
end
$$;
comment on function public.reapply_events(boolean, integer) is
'Applies stored events that failed, from their facts. Definer: see due_bookings.';

create function public.unknown_events(p_ids text[]) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(i.id), '[]')
  from unnest(p_ids) as i (id)
  where not exists (select from public.stripe_events as e where e.id = i.id)
$$;
comment on function public.unknown_events(text[]) is
'Which of Stripe''s events the webhook never brought. Definer: see due_bookings.';

create function public.events_seen_until(p_moved_to timestamptz default null) returns timestamptz
language plpgsql security definer
set search_path = ''
as $$
declare
  seen timestamptz;
begin
  if p_moved_to is not null then
    update internal.reconcile_state as r set events_seen_until = greatest(r.events_seen_until, p_moved_to)
    where r.only_row;
  end if;
  select r.events_seen_until into strict seen from internal.reconcile_state as r;
  return seen;
end
$$;
comment on function public.events_seen_until(timestamptz) is
'The watermark of the comparison with Stripe''s events; moved forward only. Definer: see due_bookings.';

create function public.detaching_cards() returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(p.stripe_payment_method_id order by p.updated_at), '[]')
  from public.payment_methods as p
  where p.status = 'detaching' and p.updated_at < internal.clock() - interval '1 minute'
$$;
comment on function public.detaching_cards() is
'Cards that a user gave up while Stripe could not be reached. Definer: see due_bookings.';

create function public.unsettled_payments(p_payments jsonb) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(p.payment || jsonb_build_object('is_known', b.id is not null)), '[]')
  from jsonb_array_elements(p_payments) as p (payment)
  left join public.bookings as b on b.id::text = p.payment ->> 'booking_id'
  where
    p.payment ->> 'status' = 'succeeded'
    and p.payment ->> 'booking_id' is not null
    and coalesce(b.status, 'charging') not in ('confirmed', 'refunded')
    and not exists (select from public.refunds as r where r.booking_id = b.id and r.status <> 'failed')
$$;
comment on function public.unsettled_payments(jsonb) is
'Payments that Stripe holds as succeeded and we do not (invariant 3); is_known false: not even their booking.
Definer: see due_bookings.';

create function public.invariant_breaches() returns jsonb
language sql stable security definer
set search_path = ''
as $$
  with sums as (
    select
      l.campaign_id,
      sum(case when l.kind = 'reserve' then l.amount_minor when l.kind in ('release', 'spend') then -l.amount_minor end)
        as reserved,
      sum(case when l.kind in ('spend', 'refund_reversed') then l.amount_minor when l.kind = 'refund' then -l.amount_minor end)
        as spent
    from public.ledger_entries as l
    group by l.campaign_id
  ),
  counts as (
    select
      b.campaign_id,
      count(*) filter (where b.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized')) as in_flight,
      count(*) filter (where b.status = 'confirmed') as confirmed
    from public.bookings as b
    group by b.campaign_id
  ),
  breaches as (
    select 'two_open_or_succeeded_attempts' as breach, a.booking_id::text as subject
    from public.attempts as a
    where a.status in ('started', 'processing', 'requires_action', 'authorized', 'succeeded')
    group by a.booking_id
    having count(*) > 1
    union all
    select 'totals_differ_from_ledger', c.id::text
    from public.campaigns as c
    left join sums as s on c.id = s.campaign_id
    where c.reserved_minor <> coalesce(s.reserved, 0) or c.spent_minor <> coalesce(s.spent, 0)
    union all
    select 'counts_differ_from_bookings', c.id::text
    from public.campaigns as c
    left join counts as n on c.id = n.campaign_id
    where c.bookings_in_flight <> coalesce(n.in_flight, 0) or c.bookings_confirmed <> coalesce(n.confirmed, 0)
    union all
    select 'reserve_on_ended_booking', b.id::text
    from public.bookings as b
    inner join public.ledger_entries as l on b.id = l.booking_id
    where b.status in ('confirmed', 'refunded', 'failed', 'cancelled')
    group by b.id
    having sum(
      case when l.kind = 'reserve' then l.amount_minor when l.kind in ('release', 'spend') then -l.amount_minor else 0 end
    ) <> 0
    union all
    select 'confirmed_without_payment', b.id::text
    from public.bookings as b
    where b.status in ('confirmed', 'refunded') and (
      b.stripe_payment_intent_id is null
      or not exists (select from public.attempts as a where a.booking_id = b.id and a.status = 'succeeded')
    )
    union all
    select 'money_on_dead_booking', b.id::text
    from public.bookings as b
    where
      b.status in ('failed', 'cancelled')
      and exists (select from public.attempts as a where a.booking_id = b.id and a.status = 'succeeded')
      and not exists (select from public.refunds as r where r.booking_id = b.id and r.status in ('requested', 'pending', 'succeeded'))
    union all
    select 'price_differs_from_offer', b.id::text
    from public.bookings as b
    inner join public.offers as o on b.offer_id = o.id
    where (b.amount_minor, b.currency) is distinct from (o.amount_minor, o.currency)
    union all
    select 'end_without_notification', b.id::text
    from public.bookings as b
    where
      b.status in ('confirmed', 'failed', 'cancelled', 'requires_action', 'authorized')
      and b.closing_as is not distinct from case when b.status in ('failed', 'cancelled') then b.closing_as end
      and not exists (
        select from public.notifications as n
        where
          n.booking_id = b.id
          and n.kind = case b.status
            when 'requires_action' then 'authentication_required' else 'booking_' || b.status
          end
      )
    union all
    select 'event_not_applied_for_an_hour', e.id
    from public.stripe_events as e
    where e.status = 'failed' and e.received_at < internal.clock() - interval '1 hour'
  )
  select coalesce(jsonb_agg(jsonb_build_object('breach', breach, 'subject', subject) order by breach, subject), '[]')
  from (select breach, subject from breaches limit 1000) as found
$$;
comment on function public.invariant_breaches() is
'Every breach of the invariants that the database can see by itself (docs/architecture.md). Definer: see due_bookings.';

create function public.report_breaches(p_breaches jsonb) returns void
language sql security definer
set search_path = ''
as $$
  select internal.report_incident('invariant_' || (b.item ->> 'breach'), b.item ->> 'subject', null, b.item::text)
  from jsonb_array_elements(p_breaches) as b (item)
$$;
comment on function public.report_breaches(jsonb) is 'An incident for each breach, once. Definer: see due_bookings.';
