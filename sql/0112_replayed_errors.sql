-- migrate:up
-- A 500 that Stripe keeps under its key and replays: repeating the request says nothing any more, so the payment is looked
-- up instead (docs/decisions/0009-a-500-that-stripe-replays.md).

alter table public.attempts add column replayed_error_at timestamptz;
comment on column public.attempts.replayed_error_at is
'When Stripe first replayed a 500 under this attempt''s key. From then on it is looked up and never sent again.';

alter table internal.settings
add column replayed_error_patience_seconds integer not null default 3600 check (replayed_error_patience_seconds >= 0);
comment on column internal.settings.replayed_error_patience_seconds is
'How long a charge that ended in a replayed 500, and of which Stripe shows nothing, may still surface before it is given
up. Stripe repairs such requests while an incident lasts (https://docs.stripe.com/error-low-level#server-errors).';

create function internal.leave_unknown(p_booking_id uuid) returns text
language sql
set search_path = ''
as $$
  update public.bookings as b set leased_until = null where b.id = p_booking_id;
  select 'unknown'
$$;
comment on function internal.leave_unknown(uuid) is
'Nobody knows what Stripe did. The attempt stays as it is, and whoever comes next may ask again at once.';

create function internal.may_surface(p_booking public.bookings, p_attempt public.attempts) returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from internal.settings as s
    cross join public.campaigns as c
    cross join public.offers as o
    where
      p_attempt.status = 'started'
      and p_attempt.replayed_error_at + make_interval(secs => s.replayed_error_patience_seconds) > internal.clock()
      and c.id = p_booking.campaign_id and c.status = 'active' and c.expires_at > internal.clock()
      and o.id = p_booking.offer_id and o.expires_at > internal.clock()
  )
$$;
comment on function internal.may_surface(public.bookings, public.attempts) is
'Whether a charge that ended in a replayed 500 is still waited for. Past that, or once nobody wants it any more, it is
given up; a payment that turns up all the same is refunded as a late success.';

create or replace function internal.pending_step(p_booking public.bookings) returns jsonb
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
    if attempt.replayed_error_at is not null then
      return look_up; -- its key answers the same 500 until Stripe drops it, whatever became of the payment
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

create or replace function internal.settle_payment(p_facts jsonb, p_attempt_id uuid) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  found_id constant uuid := internal.find_booking(p_facts, p_attempt_id);
  booking public.bookings;
  attempt public.attempts;
  intent_status constant text := p_facts ->> 'status';
  result text;
begin
  perform internal.lock_payment(p_facts ->> 'payment_intent_id');
  if found_id is null then
    return jsonb_build_object('result', 'not_ours');
  end if;
  perform from public.campaigns as c
  where c.id = (select b.campaign_id from public.bookings as b where b.id = found_id)
  for no key update;
  select * into strict booking from public.bookings as b where b.id = found_id for no key update;
  if booking.stripe_payment_intent_id is distinct from p_facts ->> 'payment_intent_id' then
    if booking.stripe_payment_intent_id is not null and p_facts ->> 'payment_intent_id' is not null then
      perform internal.report_incident(
        'second_payment_intent', p_facts ->> 'payment_intent_id', booking.id, 'Two PaymentIntents name one booking.'
      );
      return jsonb_build_object('result', 'second_payment_intent', 'booking_id', booking.id);
    end if;
    if booking.stripe_payment_intent_id is null then
      update public.bookings as b set stripe_payment_intent_id = p_facts ->> 'payment_intent_id'
      where b.id = booking.id
      returning * into booking;
    end if;
  end if;
  -- At most one is open (attempts_one_open_idx).
  select * into attempt from public.attempts as a
  where a.booking_id = booking.id and a.status in ('started', 'processing', 'requires_action', 'authorized');

  case intent_status
    when 'succeeded' then
      result := internal.confirm_booking(booking, attempt, p_facts);
    when 'requires_capture' then
      result := internal.settle_hold(booking, attempt, p_facts);
    when 'canceled' then
      if booking.status = 'authorized' then
        -- Nobody called it off: the bank let go of the hold.
        perform internal.call_off(booking.id, 'hold_expired', internal.hold_expired_sentence());
        select * into strict booking from public.bookings as b where b.id = found_id;
      end if;
      result := internal.close_booking(booking, attempt, p_facts);
    when 'absent' then
      if booking.closing_as is null and internal.may_surface(booking, attempt) then
        result := internal.leave_unknown(booking.id);
      else
        -- Looked for and not found: nothing is to be created anew.
        if booking.closing_as is null then
          perform internal.give_up(
            booking.id, 'never_reached_stripe',
            'The booking could not be made because of a fault on our side. Nothing was charged.'
          );
          select * into strict booking from public.bookings as b where b.id = found_id;
        end if;
        result := internal.close_booking(booking, attempt, p_facts);
      end if;
    when 'processing', 'requires_action' then
      result := internal.settle_pending(booking, attempt, p_facts, p_attempt_id);
    when 'unknown' then
      result := internal.leave_unknown(booking.id);
      if (p_facts ->> 'is_replayed')::boolean and p_attempt_id = attempt.id and attempt.status = 'started' then
        update public.attempts as a set replayed_error_at = coalesce(a.replayed_error_at, internal.clock())
        where a.id = attempt.id;
        result := 'replayed_error';
      end if;
    else
      result := internal.settle_refusal(booking, attempt, p_facts, p_attempt_id);
  end case;
  perform internal.apply_early_events(p_facts ->> 'payment_intent_id');
  return jsonb_build_object('result', result, 'booking_id', booking.id);
end
$$;

create or replace function internal.settle_looked_up(
  p_booking public.bookings, p_attempt public.attempts, p_facts jsonb
) returns text
language plpgsql
set search_path = ''
as $$
begin
  if p_attempt.id is null or p_attempt.status = 'requires_action' then
    return 'nothing_to_do';
  end if;
  if
    p_facts -> 'decline' is not null
    and p_facts ->> 'charge_id' is not null
    and not internal.is_known_charge(p_attempt, p_facts ->> 'charge_id')
  then
    return internal.settle_decline(p_booking, p_attempt, p_facts);
  end if;
  if internal.may_surface(p_booking, p_attempt) then
    return internal.leave_unknown(p_booking.id);
  end if;
  -- Stripe shows nothing of this try, and it is not sent again: its key is too old, the offer or the campaign is over, or
  -- its key answers a 500.
  perform internal.end_attempt(p_attempt.id, 'voided', p_facts - 'decline' - 'charge_id');
  perform internal.give_up(
    p_booking.id, 'never_reached_stripe',
    'The booking could not be made because of a fault on our side. Nothing was charged.'
  );
  return 'given_up';
end
$$;
