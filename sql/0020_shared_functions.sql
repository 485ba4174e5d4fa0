-- migrate:up
-- What the money functions share: shapes that go out, notifications, incidents, pausing.
-- Lock order everywhere: customers, campaigns (by id), bookings (by id), payment methods. Whoever keeps it can't deadlock.

create function internal.notify_user(
  p_user_id uuid, p_kind text, p_dedupe_key text, p_campaign_id uuid, p_booking_id uuid, p_data jsonb default '{}'
) returns void
language sql
set search_path = ''
as $$
  insert into public.notifications (user_id, kind, dedupe_key, campaign_id, booking_id, data)
  values (p_user_id, p_kind, p_kind || ':' || p_dedupe_key, p_campaign_id, p_booking_id, jsonb_strip_nulls(p_data))
  on conflict (dedupe_key) do nothing
$$;
comment on function internal.notify_user(uuid, text, text, uuid, uuid, jsonb) is
'Owes a user a message, once per key, in the transaction of its cause.';

create function internal.report_incident(p_kind text, p_dedupe_key text, p_booking_id uuid, p_detail text) returns void
language sql
set search_path = ''
as $$
  insert into public.incidents (kind, dedupe_key, booking_id, detail)
  values (p_kind, p_kind || ':' || p_dedupe_key, p_booking_id, p_detail)
  on conflict (dedupe_key) do nothing
$$;
comment on function internal.report_incident(text, text, uuid, text) is 'Tells an engineer, once per key.';

create function internal.card_json(p_card public.payment_methods) returns jsonb
language sql stable
set search_path = ''
as $$
  select jsonb_build_object(
    'id', p_card.id, 'status', p_card.status, 'brand', p_card.brand, 'last4', p_card.last4,
    'exp_month', p_card.exp_month, 'exp_year', p_card.exp_year, 'funding', p_card.funding,
    'country', p_card.country, 'wallet', p_card.wallet, 'is_default', p_card.is_default,
    'backup_position', p_card.backup_position, 'created_at', p_card.created_at
  )
$$;
comment on function internal.card_json(public.payment_methods) is 'A card as the API shows it.';

create view public.booking_view with (security_invoker = true) as
select
  b.id,
  b.campaign_id,
  b.offer_id,
  b.status,
  b.amount_minor,
  b.currency,
  b.amount_refunded_minor,
  b.capture,
  b.user_message,
  coalesce(b.action_expires_at, case when b.status = 'authorized' then b.capture_before end) as expires_at,
  b.retry_at,
  b.confirmed_at,
  b.created_at,
  coalesce((
    select
      jsonb_agg(
        jsonb_build_object(
          'id', a.id, 'ordinal', a.ordinal, 'status', a.status, 'payment_method_id', a.payment_method_id,
          'user_message', a.user_message, 'created_at', a.created_at, 'settled_at', a.settled_at
        ) order by a.ordinal
      )
    from public.attempts as a
    where a.booking_id = b.id
  ), '[]'::jsonb) as attempts
from public.bookings as b;
comment on view public.booking_view is 'A booking as the API shows it, the reader''s rows only (security_invoker).';

create function internal.booking_json(p_booking_id uuid) returns jsonb
language sql stable
set search_path = ''
as $$
  select to_jsonb(v) from public.booking_view as v where v.id = p_booking_id
$$;
comment on function internal.booking_json(uuid) is 'One booking as the API shows it.';

create function internal.pause_campaign(p_campaign_id uuid, p_reason public.pause_reason) returns boolean
language plpgsql
set search_path = ''
as $$
begin
  update public.campaigns as c set status = 'paused', pause_reason = p_reason
  where
    c.id = p_campaign_id
    -- A dispute's pause ends by itself when the dispute is won, so every other reason takes its place.
    and (c.status = 'active' or (c.pause_reason = 'dispute' and p_reason <> 'dispute'));
  return found;
end
$$;
comment on function internal.pause_campaign(uuid, public.pause_reason) is
'Pauses a campaign; true when this call did it. Reasons that a person must lift outrank a dispute''s.';

create function internal.complete_campaign(p_campaign_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
  owner uuid;
begin
  update public.campaigns as c set status = 'completed', pause_reason = null
  from public.currencies as y
  where
    c.id = p_campaign_id
    and y.code = c.currency
    and c.status in ('active', 'paused')
    and c.bookings_in_flight = 0
    and (c.bookings_confirmed >= c.max_bookings or c.budget_minor - c.spent_minor < y.minimum_charge_minor)
  returning c.user_id into owner;
  if found then
    perform internal.notify_user(owner, 'campaign_completed', p_campaign_id::text, p_campaign_id, null);
  end if;
end
$$;
comment on function internal.complete_campaign(uuid) is
'Completes a campaign that has its bookings, or whose budget cannot buy the smallest charge any more.';
