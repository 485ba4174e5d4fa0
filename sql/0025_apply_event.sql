-- migrate:up
-- The webhook's one round trip: store the event once, apply it, say what it did.

create function internal.enrich_attempt(p_facts jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
  attempt public.attempts;
begin
  select a.* into attempt
  from public.attempts as a
  inner join public.bookings as b on a.booking_id = b.id
  where
    b.stripe_payment_intent_id = p_facts ->> 'payment_intent_id'
    and p_facts ->> 'charge_id' = any(a.stripe_charge_ids)
  for update of a;
  if not found then
    -- The PaymentIntent's own event or answer brings the same facts and names the attempt.
    return 'charge_not_known_yet';
  end if;
  perform internal.end_attempt(attempt.id, attempt.status, p_facts - 'decline');
  if p_facts #>> '{charge,capture_before}' is not null then
    update public.bookings as b set capture_before = (p_facts #>> '{charge,capture_before}')::timestamptz
    where b.id = attempt.booking_id and b.status = 'authorized';
  end if;
  return 'enriched';
end
$$;
comment on function internal.enrich_attempt(jsonb) is
'Adds what a Charge tells (outcome, risk, network codes, fee, capture deadline) to its attempt.';

create function internal.apply_event(p_handler text, p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  case p_handler
    when 'payment_intent' then
      return internal.settle_payment(p_facts, null);
    when 'setup_intent' then
      return jsonb_build_object('result', internal.settle_setup_intent(p_facts));
    when 'charge' then
      return jsonb_build_object('result', internal.enrich_attempt(p_facts));
    when 'refund' then
      return internal.settle_refund(p_facts);
    when 'dispute' then
      return internal.settle_dispute(p_facts);
    when 'fraud_warning' then
      return internal.settle_fraud_warning(p_facts);
    when 'review' then
      return internal.settle_review(p_facts);
    when 'hold_expired' then
      return internal.settle_hold_expired(p_facts);
    when 'card' then
      return internal.settle_card(p_facts);
    when 'customer_deleted' then
      return internal.settle_customer_deleted(p_facts);
    else
      return jsonb_build_object('result', 'stored_only');
  end case;
end
$$;
comment on function internal.apply_event(text, jsonb) is
'Which SQL function a family of events goes to; the family is named by functions/shared/stripe_events/table.py.';

create function internal.try_event(p_handler text, p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  outcome jsonb;
begin
  outcome := internal.apply_event(p_handler, p_facts);
  return outcome || jsonb_build_object('status', case
    when outcome ->> 'result' in ('stored_only', 'not_ours', 'unknown_customer', 'without_consent') then 'ignored'
    else 'applied'
  end);
exception when others then
  -- Undone as a whole and stored as failed: Stripe sends it again, and reconcile applies it from its facts.
  return jsonb_build_object('status', 'failed', 'result', sqlstate || ' ' || sqlerrm);
end
$$;
comment on function internal.try_event(text, jsonb) is
'Applies an event or says why it could not be; either way the transaction goes on.';

create function internal.apply_early_events(p_payment_intent_id text) returns void
language plpgsql
set search_path = ''
as $$
declare
  event public.stripe_events;
  outcome jsonb;
begin
  for event in
    select * from public.stripe_events as e
    where
      e.facts #>> '{facts,payment_intent_id}' = p_payment_intent_id
      and e.result in ('not_ours', 'charge_not_known_yet')
      and e.facts ->> 'handler' <> 'payment_intent'
    order by e.stripe_created_at, e.id
    for update
  loop
    outcome := internal.try_event(event.facts ->> 'handler', event.facts -> 'facts');
    update public.stripe_events as e set
      status = (outcome ->> 'status')::public.event_status, result = outcome ->> 'result', tries = e.tries + 1
    where e.id = event.id;
  end loop;
end
$$;
comment on function internal.apply_early_events(text) is
'Applies events that overtook the answer by which we learn whose payment they speak of: a dispute, a review or a Charge may
be told before the charging function has committed.';

create function public.receive_event(p_event jsonb) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  stored public.stripe_events;
  outcome jsonb;
begin
  perform internal.lock_payment(p_event #>> '{facts,payment_intent_id}');
  -- A second delivery at the same moment waits here until the first has committed.
  insert into public.stripe_events (id, type, api_version, livemode, object_id, stripe_created_at, status, result, facts)
  values (
    p_event ->> 'id', p_event ->> 'type', p_event ->> 'api_version', (p_event ->> 'livemode')::boolean,
    p_event ->> 'object_id', to_timestamp((p_event ->> 'created')::bigint), 'failed', 'received',
    jsonb_build_object('handler', p_event ->> 'handler', 'facts', coalesce(p_event -> 'facts', '{}'))
  )
  on conflict (id) do update set deliveries = public.stripe_events.deliveries + 1
  returning * into stored;
  if stored.status <> 'failed' then
    return jsonb_build_object('duplicate', true, 'status', stored.status, 'result', stored.result);
  end if;

  if p_event ->> 'flag' is not null then
    outcome := jsonb_build_object('status', 'flagged', 'result', p_event ->> 'flag');
    perform internal.report_incident('event_flagged', (p_event ->> 'flag') || ':' || stored.type, null, stored.id);
  else
    outcome := internal.try_event(p_event ->> 'handler', p_event -> 'facts');
  end if;
  update public.stripe_events as e set
    status = (outcome ->> 'status')::public.event_status, result = outcome ->> 'result',
    tries = e.tries + (stored.deliveries > 1)::integer,
    -- The card's digits are kept until they have reached payment_methods, where erasing a person finds them.
    facts = case when outcome ->> 'status' = 'failed' then e.facts else e.facts #- '{facts,card}' end
  where e.id = stored.id;
  return outcome || jsonb_build_object(
    'duplicate', false,
    'next', case
      when outcome ->> 'booking_id' is not null then internal.next_step((outcome ->> 'booking_id')::uuid, true)
    end
  );
end
$$;
comment on function public.receive_event(jsonb) is
'Stores a verified Stripe event by its id and applies it in the same transaction. A duplicate is an event that has
already been handled, not one that has been seen. Definer: its caller holds no rights on the tables.';
