-- migrate:up
-- After Stripe: one function takes every outcome, whether the charging function, a webhook or reconcile brings it.
-- What is decided here is decided by rank (a succeeded PaymentIntent stays succeeded), never by who came first.

create function internal.lock_payment(p_payment_intent_id text) returns void
language sql
set search_path = ''
as $$
  -- Taken before all row locks. An event and the answer that says whose payment it speaks of could otherwise commit at the
  -- same moment, neither having seen the other. Transaction-scoped, as a pooler wants it.
  select pg_advisory_xact_lock(hashtextextended(p_payment_intent_id, 0))
  where p_payment_intent_id is not null
$$;
comment on function internal.lock_payment(text) is 'News of one PaymentIntent are taken one after the other.';

create function internal.find_booking(p_facts jsonb, p_attempt_id uuid) returns uuid
language sql stable
set search_path = ''
as $$
  select coalesce(
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
  )
$$;
comment on function internal.find_booking(jsonb, uuid) is
'Whose fact this is: by attempt, by PaymentIntent, or by the metadata we gave Stripe when the customer agrees.';

create function internal.settle_payment(p_facts jsonb, p_attempt_id uuid) returns jsonb
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
      -- Looked for and not found: Stripe never heard of it, and nothing is to be created anew.
      if booking.closing_as is null then
        perform internal.give_up(
          booking.id, 'never_reached_stripe',
          'The booking could not be made because of a fault on our side. Nothing was charged.'
        );
        select * into strict booking from public.bookings as b where b.id = found_id;
      end if;
      result := internal.close_booking(booking, attempt, p_facts);
    when 'processing', 'requires_action' then
      result := internal.settle_pending(booking, attempt, p_facts, p_attempt_id);
    when 'unknown' then
      -- Nobody knows what Stripe did. The attempt stays started, and whoever comes next may ask again at once.
      update public.bookings as b set leased_until = null where b.id = booking.id;
      result := 'unknown';
    else
      result := internal.settle_refusal(booking, attempt, p_facts, p_attempt_id);
  end case;
  perform internal.apply_early_events(p_facts ->> 'payment_intent_id');
  return jsonb_build_object('result', result, 'booking_id', booking.id);
end
$$;
comment on function internal.settle_payment(jsonb, uuid) is
'Takes what Stripe says of a PaymentIntent and moves attempt, booking, ledger, campaign and notifications together.';

create function internal.hold_expired_sentence() returns text
language sql immutable
set search_path = ''
as $$
  select 'The booking was not completed in time. The hold on your card is released and nothing was charged.'
$$;
comment on function internal.hold_expired_sentence() is 'What the cardholder reads when a hold ended unused.';

create function internal.is_old_news(p_attempt public.attempts, p_facts jsonb, p_attempt_id uuid) returns boolean
language sql stable
set search_path = ''
as $$
  -- An answer names its attempt. An event does not: another card's news, or news older than the attempt, is not its own.
  select
    p_attempt.id is null
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
    end
$$;
comment on function internal.is_old_news(public.attempts, jsonb, uuid) is
'Whether facts speak of another try than the one that is open.';

create function internal.is_known_charge(p_attempt public.attempts, p_charge_id text) returns boolean
language sql stable
set search_path = ''
as $$
  -- A bank that takes its time has its Charge on the attempt already when it declines.
  select exists (
    select from public.attempts as a
    where
      a.booking_id = p_attempt.booking_id
      and p_charge_id = any(a.stripe_charge_ids)
      and (a.id <> p_attempt.id or p_attempt.status <> 'processing')
  )
$$;
comment on function internal.is_known_charge(public.attempts, text) is
'Whether a decline names a Charge whose end is known, so that it is old news.';

create function internal.settle_hold(p_booking public.bookings, p_attempt public.attempts, p_facts jsonb) returns text
language plpgsql
set search_path = ''
as $$
begin
  if p_booking.status in ('confirmed', 'refunded') then
    return 'already_' || p_booking.status;
  end if;
  if p_booking.status in ('failed', 'cancelled') then
    update public.bookings as b set late_hold = true where b.id = p_booking.id;
    perform internal.report_incident(
      'late_hold', p_booking.id::text, p_booking.id, 'A dead booking''s PaymentIntent holds money; it is being cancelled.'
    );
    return 'late_hold';
  end if;
  if p_attempt.id is not null then
    perform internal.end_attempt(p_attempt.id, 'authorized', p_facts);
  end if;
  if p_booking.status = 'authorized' then
    update public.bookings as b
    set capture_before = coalesce((p_facts #>> '{charge,capture_before}')::timestamptz, b.capture_before)
    where b.id = p_booking.id;
    return 'already_authorized';
  end if;
  if p_booking.status = 'retry_scheduled' then
    update public.bookings as b set status = 'charging', retry_at = null where b.id = p_booking.id;
  end if;
  update public.bookings as b set
    status = 'authorized', action_expires_at = null, user_message = null, leased_until = null,
    capture_before = (p_facts #>> '{charge,capture_before}')::timestamptz
  where b.id = p_booking.id;
  if p_booking.closing_as is null then
    perform internal.notify_user(
      p_booking.user_id, 'booking_authorized', p_booking.id::text, p_booking.campaign_id, p_booking.id,
      jsonb_build_object('amount_minor', p_booking.amount_minor, 'currency', p_booking.currency)
    );
  end if;
  return 'authorized';
end
$$;
comment on function internal.settle_hold(public.bookings, public.attempts, jsonb) is
'The money is held, not taken: fulfilment captures or voids it before capture_before.';

create function internal.settle_pending(
  p_booking public.bookings, p_attempt public.attempts, p_facts jsonb, p_attempt_id uuid
) returns text
language plpgsql
set search_path = ''
as $$
begin
  if internal.is_old_news(p_attempt, p_facts, p_attempt_id) then
    return 'old_news';
  end if;
  if p_facts ->> 'status' = 'requires_action' then
    if p_booking.status = 'requires_action' then
      return 'requires_action';
    end if;
    return internal.settle_decline(p_booking, p_attempt, p_facts || jsonb_build_object('decline', jsonb_build_object(
      'category', 'user_action', 'code', 'requires_action', 'source', 'code',
      'user_message', coalesce(
        p_facts #>> '{decline,user_message}', 'Your bank asks you to confirm this payment before the booking can be made.'
      )
    )));
  end if;
  if p_attempt.status <> 'processing' then
    perform internal.end_attempt(p_attempt.id, 'processing', p_facts);
    if p_booking.status = 'requires_action' then
      update public.bookings as b set status = 'charging', action_expires_at = null where b.id = p_booking.id;
    end if;
  end if;
  return 'processing';
end
$$;
comment on function internal.settle_pending(public.bookings, public.attempts, jsonb, uuid) is
'The PaymentIntent is under way: with the bank, or with the cardholder.';

create function internal.settle_refusal(
  p_booking public.bookings, p_attempt public.attempts, p_facts jsonb, p_attempt_id uuid
) returns text
language plpgsql
set search_path = ''
as $$
declare
  charge_id constant text := p_facts ->> 'charge_id';
  result text;
begin
  if coalesce((p_facts ->> 'looked_up')::boolean, false) and p_booking.closing_as is null then
    return internal.settle_looked_up(p_booking, p_attempt, p_facts);
  end if;
  if p_facts -> 'decline' is null or p_facts -> 'decline' = 'null'::jsonb then
    return 'nothing_to_do';
  end if;
  if internal.is_old_news(p_attempt, p_facts, p_attempt_id) or internal.is_known_charge(p_attempt, charge_id) then
    return 'old_news';
  end if;
  result := internal.settle_decline(p_booking, p_attempt, p_facts);
  if p_facts ->> 'payment_intent_id' is null then
    -- Stripe refused the request itself: there is no PaymentIntent to cancel, the booking ends here.
    select * into strict p_booking from public.bookings as b where b.id = p_booking.id;
    if p_booking.closing_as is not null and p_booking.stripe_payment_intent_id is null then
      select * into p_attempt from public.attempts as a where false;
      perform internal.close_booking(p_booking, p_attempt, p_facts);
    end if;
  end if;
  return result;
end
$$;
comment on function internal.settle_refusal(public.bookings, public.attempts, jsonb, uuid) is
'Sorts new refusals from old news, and ends a booking that Stripe never began.';

create function internal.settle_looked_up(
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
  -- Stripe shows nothing of this try: its request never arrived, and its key is too old to send it again.
  perform internal.end_attempt(p_attempt.id, 'voided', p_facts - 'decline' - 'charge_id');
  perform internal.give_up(
    p_booking.id, 'never_reached_stripe',
    'The booking could not be made because of a fault on our side. Nothing was charged.'
  );
  return 'given_up';
end
$$;
comment on function internal.settle_looked_up(public.bookings, public.attempts, jsonb) is
'A PaymentIntent asked for by reconcile, long after its attempt began: what it shows is all there will be.';

create function internal.go_on(p_settled jsonb, p_take_next boolean) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  booking_id constant uuid := p_settled ->> 'booking_id';
begin
  if booking_id is null then
    return p_settled;
  end if;
  -- The caller holds the lease, if anybody does: what follows is its own next step.
  if p_take_next then
    update public.bookings as b set leased_until = null where b.id = booking_id and b.leased_until is not null;
  end if;
  return p_settled || jsonb_build_object(
    'next', internal.next_step(booking_id, p_take_next and p_settled ->> 'result' <> 'unknown'),
    'booking', internal.booking_json(booking_id)
  );
end
$$;
comment on function internal.go_on(jsonb, boolean) is
'The answer to an outcome: what it did, the booking, and what comes next, leased to the caller who wants it.';

create function public.settle_payment(p_facts jsonb, p_attempt_id uuid default null, p_take_next boolean default false)
returns jsonb
language sql security definer
set search_path = ''
as $$
  select internal.go_on(internal.settle_payment(p_facts, p_attempt_id), p_take_next)
$$;
comment on function public.settle_payment(jsonb, uuid, boolean) is
'Second committed half of a charge. p_facts is what functions/shared/stripe_facts.py reads out of Stripe''s answer;
p_take_next leases what comes next to the caller. Definer: its caller holds no rights on the tables.';
