-- migrate:up
-- A hold whose charge had ended in a 500 that Stripe replays was looked up for ever and never captured: once an attempt is
-- known to be more than begun, that 500 says nothing about it any more.

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
    if attempt.status = 'started' and attempt.replayed_error_at is not null then
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
