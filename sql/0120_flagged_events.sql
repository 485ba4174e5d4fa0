-- migrate:up
-- An event that came in another API version or from the wrong mode is flagged and does nothing. Found by `make faults`: it
-- then counted as handled, so neither the right endpoint's delivery of the same event (Stripe's way to upgrade has both for a
-- while, https://docs.stripe.com/webhooks/versioning) nor reconcile could bring it any more.

create or replace function public.receive_event(p_event jsonb) returns jsonb
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
  -- A flagged event has done nothing yet: a delivery that can be trusted is the first to be applied.
  if stored.status not in ('failed', 'flagged') or (stored.status = 'flagged' and p_event ->> 'flag' is not null) then
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
    api_version = p_event ->> 'api_version', livemode = (p_event ->> 'livemode')::boolean,
    tries = e.tries + (stored.deliveries > 1)::integer,
    -- The card's digits are kept until they have reached payment_methods, where erasing a person finds them.
    facts = case
      when outcome ->> 'status' = 'failed' then told.facts
      else told.facts #- '{facts,card}'
    end
  from (
    select jsonb_build_object('handler', p_event ->> 'handler', 'facts', coalesce(p_event -> 'facts', '{}')) as facts
  ) as told
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

create or replace function public.unknown_events(p_ids text[]) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(i.id), '[]')
  from unnest(p_ids) as i (id)
  where not exists (select from public.stripe_events as e where e.id = i.id and e.status <> 'flagged')
$$;
comment on function public.unknown_events(text[]) is
'Which of Stripe''s events the webhook never brought, or brought in a form that could not be trusted. Definer: see due_bookings.';
