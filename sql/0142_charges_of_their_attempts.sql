-- migrate:up
-- A PaymentIntent shows its latest Charge whatever became of it since. Found by `make faults`: who cancelled while the
-- next card's try had not reached Stripe found the first card's Charge, and its decline, on the second attempt.

create or replace function internal.end_attempt(
  p_attempt_id uuid, p_status public.attempt_status, p_facts jsonb
) returns void
language plpgsql
set search_path = ''
as $$
declare
  facts jsonb := p_facts;
begin
  if exists (
    select from public.attempts as a
    inner join public.attempts as o on a.booking_id = o.booking_id and a.id <> o.id
    where a.id = p_attempt_id and p_facts ->> 'charge_id' = any(o.stripe_charge_ids)
  ) then
    -- The Charge is another attempt's, so what it says is known there and is nothing of this one.
    facts := facts - 'charge_id' - 'charge';
    if p_status = 'voided' then
      facts := facts - 'decline';
    end if;
  end if;
  update public.attempts as a set
    status = p_status,
    stripe_charge_ids = case
      when facts ->> 'charge_id' is null or facts ->> 'charge_id' = any(a.stripe_charge_ids) then a.stripe_charge_ids
      else a.stripe_charge_ids || (facts ->> 'charge_id')
    end,
    category = coalesce(facts #>> '{decline,category}', a.category),
    decline_code = coalesce(facts #>> '{decline,code}', a.decline_code),
    decline_source = coalesce(facts #>> '{decline,source}', a.decline_source),
    is_fraud = coalesce((facts #>> '{decline,is_fraud}')::boolean, a.is_fraud),
    -- A success wipes the sentence of an authentication that was asked for on the way.
    user_message = case when p_status in ('succeeded', 'authorized') then null
      else coalesce(facts #>> '{decline,user_message}', a.user_message) end,
    outcome_type = coalesce(facts #>> '{charge,outcome_type}', a.outcome_type),
    outcome_reason = coalesce(facts #>> '{charge,outcome_reason}', a.outcome_reason),
    network_status = coalesce(facts #>> '{charge,network_status}', a.network_status),
    network_decline_code = coalesce(facts #>> '{charge,network_decline_code}', a.network_decline_code),
    network_advice_code = coalesce(facts #>> '{charge,network_advice_code}', a.network_advice_code),
    advice_code = coalesce(facts #>> '{charge,advice_code}', a.advice_code),
    risk_level = coalesce(facts #>> '{charge,risk_level}', a.risk_level),
    risk_score = coalesce((facts #>> '{charge,risk_score}')::smallint, a.risk_score),
    fee_minor = coalesce((facts #>> '{charge,fee_minor}')::bigint, a.fee_minor),
    settled_at = case
      when p_status in ('succeeded', 'declined', 'rejected', 'voided') then coalesce(a.settled_at, internal.clock())
    end
  where a.id = p_attempt_id;
end
$$;
comment on function internal.end_attempt(uuid, public.attempt_status, jsonb) is
'Moves an attempt and keeps what Stripe said of it, unless it said so of the Charge of another attempt.';
