-- migrate:up
-- The ends and turns of a booking: confirmed, closed, declined. Called by the settling function alone, which holds the
-- locks on campaign and booking.

create function internal.release_reserve(p_booking public.bookings, p_amount_minor bigint) returns void
language sql
set search_path = ''
as $$
  insert into public.ledger_entries (campaign_id, booking_id, kind, amount_minor)
  select p_booking.campaign_id, p_booking.id, 'release', p_amount_minor
  where p_amount_minor > 0
$$;
comment on function internal.release_reserve(public.bookings, bigint) is 'Gives promised budget back.';

create function internal.end_attempt(
  p_attempt_id uuid, p_status public.attempt_status, p_facts jsonb
) returns void
language sql
set search_path = ''
as $$
  update public.attempts as a set
    status = p_status,
    stripe_charge_ids = case
      when p_facts ->> 'charge_id' is null or p_facts ->> 'charge_id' = any(a.stripe_charge_ids) then a.stripe_charge_ids
      else a.stripe_charge_ids || (p_facts ->> 'charge_id')
    end,
    category = coalesce(p_facts #>> '{decline,category}', a.category),
    decline_code = coalesce(p_facts #>> '{decline,code}', a.decline_code),
    decline_source = coalesce(p_facts #>> '{decline,source}', a.decline_source),
    is_fraud = coalesce((p_facts #>> '{decline,is_fraud}')::boolean, a.is_fraud),
    -- A success wipes the sentence of an authentication that was asked for on the way.
    user_message = case when p_status in ('succeeded', 'authorized') then null
      else coalesce(p_facts #>> '{decline,user_message}', a.user_message) end,
    outcome_type = coalesce(p_facts #>> '{charge,outcome_type}', a.outcome_type),
    outcome_reason = coalesce(p_facts #>> '{charge,outcome_reason}', a.outcome_reason),
    network_status = coalesce(p_facts #>> '{charge,network_status}', a.network_status),
    network_decline_code = coalesce(p_facts #>> '{charge,network_decline_code}', a.network_decline_code),
    network_advice_code = coalesce(p_facts #>> '{charge,network_advice_code}', a.network_advice_code),
    advice_code = coalesce(p_facts #>> '{charge,advice_code}', a.advice_code),
    risk_level = coalesce(p_facts #>> '{charge,risk_level}', a.risk_level),
    risk_score = coalesce((p_facts #>> '{charge,risk_score}')::smallint, a.risk_score),
    fee_minor = coalesce((p_facts #>> '{charge,fee_minor}')::bigint, a.fee_minor),
    settled_at = case
      when p_status in ('succeeded', 'declined', 'rejected', 'voided') then coalesce(a.settled_at, internal.clock())
    end
  where a.id = p_attempt_id
$$;
comment on function internal.end_attempt(uuid, public.attempt_status, jsonb) is
'Moves an attempt and keeps what Stripe said of it.';

create function internal.confirm_booking(
  p_booking public.bookings, p_attempt public.attempts, p_facts jsonb
) returns text
language plpgsql
set search_path = ''
as $$
declare
  received constant bigint := coalesce((p_facts ->> 'amount_received_minor')::bigint, p_booking.amount_minor);
  last_card uuid;
begin
  if p_booking.status in ('confirmed', 'refunded') then
    return 'already_' || p_booking.status;
  end if;
  if p_booking.status in ('failed', 'cancelled') and p_booking.amount_captured_minor > 0 then
    return 'already_late_success';
  end if;
  if (p_facts ->> 'currency') is distinct from p_booking.currency or received > p_booking.amount_minor then
    perform internal.report_incident(
      'wrong_amount', p_booking.id::text, p_booking.id,
      format('Stripe took %s %s for a booking of %s %s', received, p_facts ->> 'currency', p_booking.amount_minor,
        p_booking.currency)
    );
    return 'wrong_amount';
  end if;
  if p_attempt.id is null then
    -- Stripe took the money on a card or at a time that no open attempt knows of: the row is written after the fact.
    select a.payment_method_id into last_card
    from public.attempts as a
    left join public.payment_methods as p on a.payment_method_id = p.id
    where a.booking_id = p_booking.id
    order by (p.stripe_payment_method_id = p_facts ->> 'stripe_payment_method_id') desc nulls last, a.ordinal desc
    limit 1;
    insert into public.attempts (booking_id, user_id, payment_method_id, ordinal, status, settled_at)
    select p_booking.id, p_booking.user_id, last_card, count(*) + 1, 'succeeded', internal.clock()
    from public.attempts as a
    where a.booking_id = p_booking.id
    returning * into p_attempt;
  end if;
  perform internal.end_attempt(p_attempt.id, 'succeeded', p_facts);

  if p_booking.status in ('failed', 'cancelled') then
    -- Money on a dead booking: give it back and tell somebody (invariant 3).
    update public.bookings as b set amount_captured_minor = received where b.id = p_booking.id;
    insert into public.refunds (booking_id, user_id, amount_minor, currency, reason, idempotency_key)
    values (p_booking.id, p_booking.user_id, received, p_booking.currency, 'late_success', 'late_success')
    on conflict (booking_id, idempotency_key) do nothing;
    perform internal.report_incident(
      'late_success', p_booking.id::text, p_booking.id, 'A dead booking''s PaymentIntent succeeded; it is being refunded.'
    );
    return 'late_success';
  end if;

  if p_booking.status = 'retry_scheduled' then
    update public.bookings as b set status = 'charging', retry_at = null where b.id = p_booking.id;
  end if;
  update public.bookings as b set
    status = 'confirmed', action_expires_at = null, closing_as = null, failure_code = null, user_message = null,
    leased_until = null, amount_captured_minor = received, confirmed_at = internal.clock()
  where b.id = p_booking.id;
  insert into public.ledger_entries (campaign_id, booking_id, kind, amount_minor)
  values (p_booking.campaign_id, p_booking.id, 'spend', received);
  perform internal.release_reserve(p_booking, p_booking.amount_minor - received);
  perform internal.notify_user(
    p_booking.user_id, 'booking_confirmed', p_booking.id::text, p_booking.campaign_id, p_booking.id,
    jsonb_build_object('amount_minor', received, 'currency', p_booking.currency)
  );
  perform internal.complete_campaign(p_booking.campaign_id);
  if p_booking.closing_as = 'cancelled' then
    insert into public.refunds (booking_id, user_id, amount_minor, currency, reason, idempotency_key)
    values (p_booking.id, p_booking.user_id, received, p_booking.currency, 'cancelled_by_user', 'cancelled_by_user')
    on conflict (booking_id, idempotency_key) do nothing;
  end if;
  return 'confirmed';
end
$$;
comment on function internal.confirm_booking(public.bookings, public.attempts, jsonb) is
'The money is taken: spend the reserve, tell the user. On a dead booking it is given back instead.';

create function internal.close_booking(p_booking public.bookings, p_attempt public.attempts, p_facts jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
  ending constant public.booking_status := coalesce(p_booking.closing_as, 'cancelled');
  paused boolean := false;
  reason public.pause_reason;
begin
  if p_booking.status in ('confirmed', 'refunded', 'failed', 'cancelled') then
    update public.bookings as b set late_hold = false where b.id = p_booking.id and b.late_hold;
    return 'already_' || p_booking.status;
  end if;
  if p_attempt.id is not null then
    perform internal.end_attempt(p_attempt.id, 'voided', p_facts);
  end if;
  update public.bookings as b set
    status = ending, closing_as = ending, action_expires_at = null, retry_at = null, leased_until = null,
    failure_code = coalesce(b.failure_code, p_facts ->> 'cancellation_reason', 'payment_intent_canceled')
  where b.id = p_booking.id;
  perform internal.release_reserve(p_booking, p_booking.amount_minor);
  -- A fault of ours is no reason to stop the user's campaign; a card that was declined is.
  select case when p.status = 'usable' then 'payment_failed' else 'card_unusable' end into reason
  from public.attempts as a
  inner join public.payment_methods as p on a.payment_method_id = p.id
  where a.booking_id = p_booking.id and (a.status = 'declined' or p_booking.failure_code = 'authentication_expired')
  order by a.ordinal desc
  limit 1;
  if ending = 'failed' and reason is not null then
    paused := internal.pause_campaign(p_booking.campaign_id, reason);
  end if;
  perform internal.notify_user(
    p_booking.user_id, 'booking_' || ending, p_booking.id::text, p_booking.campaign_id, p_booking.id,
    jsonb_build_object(
      'user_message', p_booking.user_message, 'campaign_paused', paused,
      'amount_minor', p_booking.amount_minor, 'currency', p_booking.currency
    )
  );
  perform internal.complete_campaign(p_booking.campaign_id);
  return ending;
end
$$;
comment on function internal.close_booking(public.bookings, public.attempts, jsonb) is
'The PaymentIntent is cancelled at Stripe, or never came to be: release the budget, end the booking, tell the user. A
failed charge pauses its campaign, so that nobody is declined twice in their sleep.';

create function internal.settle_decline(
  p_booking public.bookings, p_attempt public.attempts, p_facts jsonb
) returns text
language plpgsql
set search_path = ''
as $$
declare
  category constant text := p_facts #>> '{decline,category}';
  code constant text := p_facts #>> '{decline,code}';
  message constant text := p_facts #>> '{decline,user_message}';
  is_fraud constant boolean := coalesce((p_facts #>> '{decline,is_fraud}')::boolean, false);
  blocks_card constant boolean := coalesce((p_facts #>> '{decline,blocks_card}')::boolean, false);
  limits internal.settings;
  campaign public.campaigns;
  offer public.offers;
  card public.payment_methods;
  deadline timestamptz;
  same_card_tries integer;
  card_tries integer;
  again_at timestamptz;
begin
  select * into strict limits from internal.settings;
  select * into strict campaign from public.campaigns as c where c.id = p_booking.campaign_id;
  select * into strict offer from public.offers as o where o.id = p_booking.offer_id;
  deadline := least(
    offer.expires_at, campaign.expires_at,
    coalesce(p_booking.action_expires_at, internal.clock() + make_interval(secs => limits.authentication_window_seconds))
  );

  if category = 'user_action' and p_booking.closing_as is null and deadline > internal.clock() then
    perform internal.end_attempt(p_attempt.id, 'requires_action', p_facts);
    update public.bookings as b set
      status = 'requires_action', action_expires_at = deadline, user_message = message, leased_until = null
    where b.id = p_booking.id;
    perform internal.notify_user(
      p_booking.user_id, 'authentication_required', p_booking.id::text, p_booking.campaign_id, p_booking.id,
      jsonb_build_object('user_message', message, 'expires_at', deadline)
    );
    return 'requires_action';
  end if;

  -- What Stripe had taken up already it did not reject: whatever came of it then is a decline.
  perform internal.end_attempt(
    p_attempt.id,
    case when category = 'our_bug' and p_attempt.status = 'started' then 'rejected' else 'declined' end::public.attempt_status,
    p_facts
  );
  if category = 'our_bug' then
    perform internal.report_incident('request_refused', p_attempt.id::text, p_booking.id, coalesce(code, 'unknown'));
  elsif category = 'stop' then
    perform internal.report_incident('duplicate_charge_refused', p_attempt.id::text, p_booking.id, coalesce(code, 'unknown'));
  end if;
  if category = 'update_card' or blocks_card then
    select * into strict card from public.payment_methods as p where p.id = p_attempt.payment_method_id for update;
    if card.status = 'usable' then
      perform internal.retire_card(card, 'unusable', code);
      perform internal.notify_user(
        p_booking.user_id, 'card_unusable', card.id::text || ':' || p_attempt.id, null, null,
        jsonb_build_object('payment_method_id', card.id, 'user_message', message)
      );
    end if;
  end if;
  if p_booking.closing_as is not null or is_fraud or category in ('our_bug', 'stop', 'user_action') then
    perform internal.give_up(p_booking.id, code, message);
    return 'declined';
  end if;

  -- Another card at once is worth more than this one later: an offer may be gone in an hour, and the user agreed.
  if offer.expires_at > internal.clock() and campaign.use_backups and campaign.status = 'active' then
    card := internal.pick_card(campaign, p_booking.id);
    if card.id is not null and not internal.velocity_exceeded(p_booking.user_id, card.id) then
      perform internal.start_attempt(p_booking, card.id);
      return 'next_card';
    end if;
  end if;
  -- A cardholder who authenticated and was declined all the same is told now; off-session it would be asked for again.
  if category = 'retry_later' and not blocks_card and p_booking.status = 'charging' then
    select
      count(*) filter (where a.booking_id = p_booking.id),
      count(*) filter (where a.created_at > internal.clock() - interval '30 days' and a.status <> 'succeeded')
    into same_card_tries, card_tries
    from public.attempts as a
    where a.payment_method_id = p_attempt.payment_method_id;
    -- Doubling, with up to a quarter of jitter so that a bank's bad hour is not answered by everybody at once.
    again_at := internal.clock() + make_interval(secs => greatest(
      coalesce((p_facts #>> '{decline,retry_after_seconds}')::double precision, 0),
      limits.retry_backoff_seconds * 2 ^ least(same_card_tries - 1, 10)
    ) * (1 + random() / 4));
    if
      same_card_tries <= limits.retries_per_booking
      and card_tries < limits.attempts_per_card_in_30_days
      and again_at < least(offer.expires_at, campaign.expires_at)
    then
      update public.bookings as b set
        status = 'retry_scheduled', retry_at = again_at, action_expires_at = null, user_message = message,
        leased_until = null
      where b.id = p_booking.id;
      perform internal.notify_user(
        p_booking.user_id, 'booking_retrying', p_attempt.id::text, p_booking.campaign_id, p_booking.id,
        jsonb_build_object('user_message', message, 'retry_at', again_at)
      );
      return 'retry_scheduled';
    end if;
  end if;

  perform internal.give_up(p_booking.id, code, message);
  return 'declined';
end
$$;
comment on function internal.settle_decline(public.bookings, public.attempts, jsonb) is
'A declined try: ask the cardholder, try later, try the next card, or give up, by the category that
functions/shared/declines.py found.';
