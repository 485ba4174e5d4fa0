-- migrate:up
-- A request that outlived its booking: the function that sent it was slow, the booking was called off as one that Stripe
-- never heard of, and then a PaymentIntent came to be. Money and holds were given back already; now what was declined or
-- asks for its cardholder is cancelled too, so that a dead booking leaves nothing at Stripe that could still be paid.

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
      if booking.status in ('failed', 'cancelled') and intent_status not in ('succeeded', 'canceled') then
        -- It was given up as never having reached Stripe, and did: nobody else will cancel it.
        update public.bookings as b set late_hold = true where b.id = booking.id returning * into booking;
      end if;
    end if;
  end if;
  -- At most one is open (attempts_one_open_idx).
  select * into attempt from public.attempts as a
  where a.booking_id = booking.id and a.status in ('started', 'processing', 'requires_action', 'authorized');

  case intent_status
    when 'succeeded' then
      update public.bookings as b set late_hold = false where b.id = booking.id and b.late_hold;
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

comment on column public.bookings.late_hold is
'A PaymentIntent turned up at Stripe, holding money or open, after the booking had ended; it is to be cancelled.';
