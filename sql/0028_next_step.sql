-- migrate:up
-- What is to be done next for a booking, read from its rows alone. Whoever comes (the charging function, a webhook, a
-- repeat of the call, reconcile) asks here, does it at Stripe, and settles. A crash anywhere loses nothing.

create function internal.give_up(p_booking_id uuid, p_code text, p_user_message text) returns void
language sql
set search_path = ''
as $$
  update public.bookings as b set
    closing_as = coalesce(b.closing_as, 'failed'), failure_code = coalesce(b.failure_code, p_code),
    user_message = coalesce(p_user_message, b.user_message)
  where b.id = p_booking_id
$$;
comment on function internal.give_up(uuid, text, text) is
'Commits that a booking is to fail; it ends once its PaymentIntent has been cancelled at Stripe.';

create function internal.call_off(p_booking_id uuid, p_code text, p_user_message text) returns void
language sql
set search_path = ''
as $$
  update public.bookings as b set
    closing_as = 'cancelled', failure_code = p_code, user_message = coalesce(p_user_message, b.user_message)
  where b.id = p_booking_id and b.closing_as is null
$$;
comment on function internal.call_off(uuid, text, text) is
'Commits that a booking is to be cancelled on purpose; a payment that succeeds all the same is given back.';

create function internal.retry(p_booking public.bookings, p_campaign public.campaigns, p_limits internal.settings)
returns void
language plpgsql
set search_path = ''
as $$
declare
  card uuid;
begin
  -- The card that was declined, if it can still be charged and the networks still allow it; else another.
  select p.id into card
  from public.attempts as a
  inner join public.payment_methods as p on a.payment_method_id = p.id
  where
    a.booking_id = p_booking.id
    and a.ordinal = (select max(l.ordinal) from public.attempts as l where l.booking_id = p_booking.id)
    and p.status = 'usable'
    and (
      select count(*) from public.attempts as t
      where
        t.payment_method_id = p.id and t.status <> 'succeeded' and t.created_at > internal.clock() - interval '30 days'
    ) < p_limits.attempts_per_card_in_30_days;
  card := coalesce(card, (internal.pick_card(p_campaign, p_booking.id)).id);
  if card is null then
    perform internal.give_up(p_booking.id, 'no_usable_card', null);
  else
    perform internal.start_attempt(p_booking, card);
  end if;
end
$$;
comment on function internal.retry(public.bookings, public.campaigns, internal.settings) is
'The hour of a scheduled retry has come.';

create function internal.fall_due(p_booking public.bookings) returns void
language plpgsql
set search_path = ''
as $$
declare
  now_at constant timestamptz := internal.clock();
  campaign public.campaigns;
  limits internal.settings;
  offer_ends timestamptz;
begin
  select * into strict campaign from public.campaigns as c where c.id = p_booking.campaign_id;
  select o.expires_at into strict offer_ends from public.offers as o where o.id = p_booking.offer_id;
  select * into strict limits from internal.settings;
  case
    when p_booking.status = 'requires_action' and p_booking.action_expires_at <= now_at then
      perform internal.give_up(
        p_booking.id, 'authentication_expired',
        'The booking was not confirmed with your bank in time, so it was not made and nothing was charged.'
      );
    when p_booking.status = 'retry_scheduled' and campaign.status <> 'active' then
      perform internal.call_off(p_booking.id, 'campaign_not_active', null);
    when p_booking.status = 'retry_scheduled' and offer_ends <= now_at then
      perform internal.give_up(p_booking.id, 'offer_expired', null);
    when p_booking.status = 'retry_scheduled' and p_booking.retry_at <= now_at then
      perform internal.retry(p_booking, campaign, limits);
    when
      p_booking.status = 'authorized' and p_booking.capture_amount_minor is null
      and p_booking.capture_before - make_interval(secs => limits.hold_margin_seconds) <= now_at
    then
      if campaign.when_hold_ends = 'capture' and p_booking.under_review_since is null then
        update public.bookings as b set capture_amount_minor = b.amount_minor where b.id = p_booking.id;
      else
        perform internal.call_off(
          p_booking.id, 'hold_ended',
          'The booking was not completed in time. The hold on your card is released and nothing was charged.'
        );
      end if;
    else
      null;
  end case;
end
$$;
comment on function internal.fall_due(public.bookings) is
'What time alone decides: an authentication that was not done, a retry whose hour has come, a hold about to end.';

create function internal.charge_step(p_booking public.bookings, p_attempt public.attempts) returns jsonb
language sql stable
set search_path = ''
as $$
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
$$;
comment on function internal.charge_step(public.bookings, public.attempts) is
'All that the Stripe call of an attempt needs, the same however often it is asked for.';

create function internal.pending_step(p_booking public.bookings) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  attempt public.attempts;
  refund public.refunds;
  key_lifetime interval;
  look_up jsonb;
begin
  if p_booking.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized') then
    select make_interval(secs => s.key_lifetime_seconds) into key_lifetime from internal.settings as s;
    select * into attempt from public.attempts as a
    where a.booking_id = p_booking.id and a.status in ('started', 'processing', 'requires_action', 'authorized');
    look_up := jsonb_build_object(
      'do', 'look_up', 'attempt_id', attempt.id, 'payment_intent_id', p_booking.stripe_payment_intent_id,
      'stripe_customer_id', (select c.stripe_customer_id from public.customers as c where c.user_id = p_booking.user_id),
      'booking_created_at', p_booking.created_at
    );
    if p_booking.closing_as is not null then
      if p_booking.stripe_payment_intent_id is null then
        -- Replaying the attempt might charge what is to be called off: only look whether Stripe heard of it.
        return look_up;
      end if;
      return jsonb_build_object('do', 'cancel', 'payment_intent_id', p_booking.stripe_payment_intent_id);
    end if;
    if attempt.status = 'started' then
      -- Past its key's life a replay could charge twice. And where Stripe never heard of it a replay is a new charge,
      -- which an offer that is over or a campaign that was stopped since must not get.
      if
        attempt.created_at + key_lifetime > internal.clock()
        and exists (
          select from public.campaigns as c
          cross join public.offers as o
          where
            c.id = p_booking.campaign_id and c.status = 'active' and c.expires_at > internal.clock()
            and o.id = p_booking.offer_id and o.expires_at > internal.clock()
        )
      then
        return internal.charge_step(p_booking, attempt);
      end if;
      return look_up;
    end if;
    if attempt.status = 'processing' and attempt.updated_at + interval '1 hour' <= internal.clock() then
      return look_up; -- the event that ends it is overdue
    end if;
    if p_booking.status = 'authorized' and p_booking.capture_amount_minor is not null then
      return jsonb_build_object(
        'do', 'capture', 'payment_intent_id', p_booking.stripe_payment_intent_id,
        'amount_minor', p_booking.capture_amount_minor
      );
    end if;
    if p_booking.status = 'charging' and attempt.id is null then
      return look_up; -- nothing open, nothing decided: no path leads here, but a stuck booking would be worse
    end if;
  end if;
  if p_booking.late_hold then
    return jsonb_build_object('do', 'cancel', 'payment_intent_id', p_booking.stripe_payment_intent_id);
  end if;
  select * into refund from public.refunds as r
  where r.booking_id = p_booking.id and r.status = 'requested'
  order by r.created_at, r.id
  limit 1;
  if refund.id is null then
    return null;
  end if;
  return jsonb_build_object(
    'do', 'refund', 'refund_id', refund.id, 'payment_intent_id', p_booking.stripe_payment_intent_id,
    'amount_minor', refund.amount_minor,
    -- Past its key's life it may have been made already: Stripe's refunds of the payment are looked through first.
    'look_first', refund.created_at + (
      select make_interval(secs => s.key_lifetime_seconds) from internal.settings as s
    ) <= internal.clock()
  );
end
$$;
comment on function internal.pending_step(public.bookings) is
'The Stripe call that a booking waits for, null where it waits for none.';

create function internal.next_step(p_booking_id uuid, p_take boolean) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  booking public.bookings;
  step jsonb;
begin
  select * into strict booking from public.bookings as b where b.id = p_booking_id for no key update;
  if p_take and booking.closing_as is null and booking.status in ('requires_action', 'retry_scheduled', 'authorized') then
    perform internal.fall_due(booking);
    select * into strict booking from public.bookings as b where b.id = p_booking_id;
  end if;
  step := internal.pending_step(booking);
  if step is null then
    return jsonb_build_object('do', 'nothing', 'booking_id', booking.id);
  end if;
  if not p_take or booking.leased_until > clock_timestamp() then
    return jsonb_build_object('do', 'wait', 'booking_id', booking.id);
  end if;
  update public.bookings as b set leased_until = clock_timestamp() + make_interval(secs => s.lease_seconds)
  from internal.settings as s
  where b.id = booking.id;
  return step || jsonb_build_object('booking_id', booking.id);
end
$$;
comment on function internal.next_step(uuid, boolean) is
'What is to be done next: charge, look_up, capture, cancel or refund at Stripe, wait (somebody else is at it, or the
caller would not take it), or nothing. Taking a step leases it.';
