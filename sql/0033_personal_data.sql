-- migrate:up
-- A person's right to a copy and to be forgotten (GDPR articles 15, 17 and 20). The accounts stay: tax law wants them for
-- years (article 17(3)(b)), and what is left of them names nobody.

create function public.export_user(p_user_id uuid) returns jsonb
language sql stable security definer
set search_path = ''
set timezone = 'UTC'
as $$
  select jsonb_build_object(
    'user_id', p_user_id,
    'exported_at', internal.clock(),
    'email', (select u.email from auth.users as u where u.id = p_user_id),
    'customer', (select to_jsonb(c) from public.customers as c where c.user_id = p_user_id),
    'payment_methods', (
      select coalesce(jsonb_agg(internal.card_json(p) order by p.created_at), '[]') from public.payment_methods as p
      where p.user_id = p_user_id
    ),
    'consents', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'setup_intent', s.id, 'terms_version', s.terms_version, 'consented_at', s.consented_at, 'status', s.status
      ) order by s.consented_at), '[]')
      from public.setup_intents as s
      where s.user_id = p_user_id
    ),
    'campaigns', (
      select coalesce(jsonb_agg(to_jsonb(c) - 'idempotency_fingerprint' order by c.created_at), '[]')
      from public.campaigns as c
      where c.user_id = p_user_id
    ),
    'bookings', (
      select coalesce(jsonb_agg(
        to_jsonb(v) || jsonb_build_object('offer', (select o.attributes from public.offers as o where o.id = v.offer_id))
        order by v.created_at
      ), '[]')
      from public.booking_view as v
      inner join public.bookings as b on v.id = b.id
      where b.user_id = p_user_id
    ),
    'considered_offers', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'campaign_id', m.campaign_id, 'offer_id', m.offer_id, 'verdict', m.verdict, 'considered_at', m.considered_at
      ) order by m.considered_at), '[]')
      from public.matches as m
      where m.user_id = p_user_id
    ),
    'disputes', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'booking_id', d.booking_id, 'status', d.status, 'reason', d.reason, 'amount_minor', d.amount_minor,
        'currency', d.currency, 'opened_at', d.opened_at, 'closed_at', d.closed_at
      ) order by d.opened_at), '[]')
      from public.disputes as d
      where d.user_id = p_user_id
    ),
    'refunds', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'booking_id', r.booking_id, 'status', r.status, 'amount_minor', r.amount_minor, 'currency', r.currency,
        'created_at', r.created_at
      ) order by r.created_at), '[]')
      from public.refunds as r
      where r.user_id = p_user_id
    ),
    'notifications', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'kind', n.kind, 'data', n.data, 'created_at', n.created_at, 'sent_at', n.sent_at
      ) order by n.created_at), '[]')
      from public.notifications as n
      where n.user_id = p_user_id
    )
  )
$$;
comment on function public.export_user(uuid) is
'All that we hold of a person, as one document. Definer: its caller holds no rights on the tables.';

create function public.erase_user(p_user_id uuid) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  stripe_customer text;
begin
  perform from public.customers as c where c.user_id = p_user_id for no key update;
  perform from public.campaigns as c where c.user_id = p_user_id order by c.id for no key update;
  if exists (
    select from public.bookings as b
    where
      b.user_id = p_user_id
      and (
        b.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized')
        or b.late_hold
        or exists (select from public.refunds as r where r.booking_id = b.id and r.status in ('requested', 'pending'))
        or exists (select from public.disputes as d where d.booking_id = b.id and d.closed_at is null)
      )
  ) then
    perform internal.problem(409, 'payments_under_way');
  end if;
  update public.campaigns as c set status = 'cancelled', pause_reason = null
  where c.user_id = p_user_id and c.status in ('active', 'paused');
  update public.matches as m set state = 'refused', verdict = 'campaign_not_active'
  where m.user_id = p_user_id and m.state = 'waiting';
  update public.campaigns as c set
    title = '(erased)', criteria = '{"erased": true}', idempotency_key = null, idempotency_fingerprint = null
  where c.user_id = p_user_id;
  update public.payment_methods as p set
    status = 'detached', is_default = false, backup_position = null, last4 = '0000', country = null, wallet = null
  where p.user_id = p_user_id;
  update public.notifications as n set data = '{}' where n.user_id = p_user_id;
  update public.notifications as n set status = 'dead' where n.user_id = p_user_id and n.status = 'pending';
  -- Events that wait to be applied again hold the card they speak of (internal.auditable and receive_event keep none).
  update public.stripe_events as e set facts = e.facts #- '{facts,card}'
  where
    e.status = 'failed'
    and (
      e.facts #>> '{facts,stripe_customer_id}' in (
        select c.stripe_customer_id from public.customers as c where c.user_id = p_user_id
      )
      or e.facts #>> '{facts,stripe_payment_method_id}' in (
        select p.stripe_payment_method_id from public.payment_methods as p where p.user_id = p_user_id
      )
    );
  update public.customers as c set email = null, deleted_at = coalesce(c.deleted_at, internal.clock())
  where c.user_id = p_user_id
  returning c.stripe_customer_id into stripe_customer;
  return jsonb_build_object('stripe_customer_id', stripe_customer);
end
$$;
comment on function public.erase_user(uuid) is
'Clears what identifies a person and keeps the accounts; refused while money is under way. Answers the Stripe Customer to
delete; the row in auth.users is the project''s own to erase. Definer: its caller holds no rights on the tables.';
