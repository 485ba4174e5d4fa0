-- migrate:up
-- Saving, arranging and detaching cards.

create function internal.settle_setup_intent(p_facts jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
  customer public.customers;
  intent public.setup_intents;
  card public.payment_methods;
  now_status constant public.setup_intent_status := p_facts ->> 'status';
  card_facts constant jsonb := nullif(p_facts -> 'card', 'null'::jsonb);
begin
  select * into customer from public.customers as c
  where c.stripe_customer_id = p_facts ->> 'stripe_customer_id'
  for no key update;
  if not found then
    return 'unknown_customer';
  end if;
  -- Late news of a Customer that is gone, the person perhaps erased: nothing could be charged to its cards.
  if customer.deleted_at is not null then
    return 'customer_deleted';
  end if;

  select * into intent from public.setup_intents as s where s.id = p_facts ->> 'setup_intent_id' for update;
  if not found then
    -- The event may overtake our own record; without terms in its metadata it is nobody's consent.
    if p_facts ->> 'terms_version' is null then
      return 'without_consent';
    end if;
    insert into public.setup_intents (id, user_id, status, terms_version)
    values (p_facts ->> 'setup_intent_id', customer.user_id, 'requires_payment_method', p_facts ->> 'terms_version')
    returning * into intent;
  end if;
  if intent.user_id <> customer.user_id then
    return 'owner_mismatch';
  end if;
  if intent.status in ('succeeded', 'canceled') then
    return 'already_' || intent.status;
  end if;

  if now_status = 'succeeded' then
    if card_facts is null then
      return 'without_card';
    end if;
    card := internal.save_card(customer.user_id, card_facts);
    if card.user_id <> customer.user_id then
      return 'owner_mismatch';
    end if;
  end if;
  update public.setup_intents as s set
    status = now_status,
    payment_method_id = card.id,
    error_code = p_facts #>> '{error,code}',
    user_message = p_facts #>> '{error,user_message}'
  where s.id = intent.id;
  if p_facts #>> '{error,code}' is not null then
    perform internal.notify_user(
      customer.user_id, 'card_setup_failed', intent.id, null, null,
      jsonb_build_object('user_message', p_facts #>> '{error,user_message}')
    );
  end if;
  return now_status;
end
$$;
comment on function internal.settle_setup_intent(jsonb) is
'Moves a SetupIntent to what Stripe says of it; a succeeded one saves its card. Late and repeated news change nothing.';

create function internal.save_card(p_user_id uuid, p_card jsonb) returns public.payment_methods
language plpgsql
set search_path = ''
as $$
declare
  card public.payment_methods;
  has_default boolean;
begin
  select * into card from public.payment_methods as p where p.stripe_payment_method_id = p_card ->> 'id';
  if found then
    return card;
  end if;
  select exists (
    select from public.payment_methods as p where p.user_id = p_user_id and p.is_default and p.status = 'usable'
  ) into has_default;
  if not has_default then
    perform from public.campaigns as c
    where c.user_id = p_user_id and c.status in ('active', 'paused')
    order by c.id
    for no key update;
    update public.payment_methods as p set is_default = false where p.user_id = p_user_id and p.is_default;
  end if;
  insert into public.payment_methods (
    user_id, stripe_payment_method_id, brand, last4, exp_month, exp_year, funding, country, wallet, is_default
  ) values (
    p_user_id, p_card ->> 'id', p_card ->> 'brand', p_card ->> 'last4', (p_card ->> 'exp_month')::smallint,
    (p_card ->> 'exp_year')::smallint, p_card ->> 'funding', p_card ->> 'country', p_card ->> 'wallet', not has_default
  )
  returning * into card;
  if card.is_default then
    update public.campaigns as c set payment_method_id = card.id
    where
      c.user_id = p_user_id
      and c.status in ('active', 'paused')
      and not exists (
        select from public.payment_methods as p where p.id = c.payment_method_id and p.status = 'usable'
      );
  end if;
  -- Offers that found no card are owed another look while they live; reconcile sends waiting matches again.
  update public.matches as m set state = 'waiting', verdict = 'matched'
  from public.campaigns as c, public.offers as o
  where
    m.user_id = p_user_id
    and m.state = 'refused'
    and m.verdict = 'no_usable_card'
    and c.id = m.campaign_id
    and c.auto_book
    and c.status = 'active'
    and o.id = m.offer_id
    and o.expires_at > internal.clock();
  return card;
end
$$;
comment on function internal.save_card(uuid, jsonb) is
'Saves a card once by its Stripe id. The first that can be charged becomes the default and is linked to campaigns that
wait for one; paused ones go on when the user says so.';

create function public.record_setup_intent(
  p_user_id uuid, p_email text, p_stripe_customer_id text, p_setup_intent_id text, p_status text, p_terms_version text
) returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.customers (user_id, stripe_customer_id, email)
  values (p_user_id, p_stripe_customer_id, p_email)
  on conflict (user_id) do update set
    email = coalesce(excluded.email, public.customers.email),
    stripe_customer_id = excluded.stripe_customer_id,
    generation = public.customers.generation + (public.customers.deleted_at is not null)::integer,
    deleted_at = null
  where
    public.customers.email is distinct from excluded.email
    or (
      public.customers.deleted_at is not null
      and public.customers.stripe_customer_id <> excluded.stripe_customer_id
    );
  insert into public.setup_intents (id, user_id, status, terms_version)
  values (p_setup_intent_id, p_user_id, p_status::public.setup_intent_status, p_terms_version)
  on conflict (id) do nothing;
end
$$;
comment on function public.record_setup_intent(uuid, text, text, text, text, text) is
'After Stripe has made them: keeps a user''s Customer and SetupIntent with the consent given.
Definer: its caller holds no rights on the tables.';

create function public.settle_setup_intent(p_facts jsonb) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  result constant text := internal.settle_setup_intent(p_facts);
  intent public.setup_intents;
  card public.payment_methods;
begin
  select * into intent from public.setup_intents as s where s.id = p_facts ->> 'setup_intent_id';
  select * into card from public.payment_methods as p where p.id = intent.payment_method_id;
  return jsonb_build_object('result', result, 'id', intent.id, 'status', intent.status)
    || case when card.id is null then '{}' else jsonb_build_object('payment_method', internal.card_json(card)) end
    || case
      when intent.user_message is null then '{}'
      else jsonb_build_object('error', jsonb_build_object('user_message', intent.user_message))
    end;
end
$$;
comment on function public.settle_setup_intent(jsonb) is
'The polling side of a set-up: settles it as the webhook would and shows it. Definer: see record_setup_intent.';

create function public.arrange_payment_method(
  p_id uuid, p_is_default boolean default null, p_backup_position integer default null
) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  card public.payment_methods;
begin
  perform from public.customers as c where c.user_id = auth.uid() for no key update;
  select * into card from public.payment_methods as p
  where p.id = p_id and p.user_id = auth.uid() and p.status not in ('detaching', 'detached');
  if not found then
    perform internal.problem(404, 'payment_method_not_found');
  end if;
  if p_is_default then
    if card.status <> 'usable' then
      perform internal.problem(409, 'card_unusable');
    end if;
    update public.payment_methods as p set is_default = false
    where p.user_id = auth.uid() and p.is_default and p.id <> p_id;
    update public.payment_methods as p set is_default = true, backup_position = null
    where p.id = p_id
    returning * into card;
  elsif p_backup_position is not null then
    if card.is_default then
      perform internal.problem(409, 'default_is_no_backup');
    end if;
    -- The chain is renumbered as a whole, so that positions stay 1, 2, 3 whatever is asked for.
    with chain as (
      select p.id, row_number() over (order by p.backup_position nulls last, p.created_at, p.id) as place
      from public.payment_methods as p
      where
        p.user_id = auth.uid()
        and not p.is_default
        and p.status in ('usable', 'unusable')
        and p.id <> p_id
    ),
    placed as (
      select chain.id, chain.place + (chain.place >= p_backup_position)::integer as place from chain
      union all
      select p_id, least(p_backup_position, (select count(*) from chain) + 1)
    )
    update public.payment_methods as p set backup_position = placed.place
    from placed
    where p.id = placed.id and p.backup_position is distinct from placed.place;
    select * into strict card from public.payment_methods as p where p.id = p_id;
  end if;
  return internal.card_json(card);
end
$$;
comment on function public.arrange_payment_method(uuid, boolean, integer) is
'Makes one of the caller''s cards the default, or places it in the backup chain. Definer, so that users need no right
to write cards; it acts for auth.uid() alone.';

create function public.begin_detach(p_id uuid) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  card public.payment_methods;
  heir public.payment_methods;
begin
  perform from public.customers as c where c.user_id = auth.uid() for no key update;
  perform from public.campaigns as c
  where c.user_id = auth.uid() and c.payment_method_id = p_id
  order by c.id
  for no key update;
  select * into card from public.payment_methods as p
  where p.id = p_id and p.user_id = auth.uid() and p.status <> 'detached'
  for update;
  if not found then
    perform internal.problem(404, 'payment_method_not_found');
  end if;
  if exists (
    select from public.attempts as a
    where a.payment_method_id = p_id and a.status in ('started', 'processing', 'requires_action', 'authorized')
  ) or exists (
    select from public.bookings as b
    inner join public.attempts as a on b.id = a.booking_id
    where a.payment_method_id = p_id and b.status in ('charging', 'retry_scheduled')
  ) then
    perform internal.problem(409, 'card_in_use');
  end if;
  perform internal.retire_card(card, 'detaching', null);
  return jsonb_build_object('stripe_payment_method_id', card.stripe_payment_method_id);
end
$$;
comment on function public.begin_detach(uuid) is
'First half of detaching a card of the caller: from here on nothing is charged to it. Refused while a charge is in
flight. Definer: acts for auth.uid() alone.';

create function internal.retire_card(
  p_card public.payment_methods, p_status public.payment_method_status, p_reason text
) returns void
language plpgsql
set search_path = ''
as $$
declare
  heir public.payment_methods;
  campaign record;
begin
  update public.payment_methods as p set
    status = p_status,
    unusable_reason = case when p_status = 'unusable' then p_reason else p.unusable_reason end,
    is_default = p.is_default and p_status = 'unusable',
    backup_position = case when p_status = 'unusable' then p.backup_position end
  where p.id = p_card.id and p.status <> p_status;
  if p_status = 'unusable' then
    return;
  end if;
  select * into heir from public.payment_methods as p
  where p.user_id = p_card.user_id and p.status = 'usable' and p.id <> p_card.id
  order by p.is_default desc, p.backup_position nulls last, p.created_at
  limit 1;
  if heir.id is not null and p_card.is_default then
    update public.payment_methods as p set is_default = true, backup_position = null where p.id = heir.id;
  end if;
  for campaign in
    select c.id, c.status from public.campaigns as c
    where c.user_id = p_card.user_id and c.payment_method_id = p_card.id
    order by c.id
  loop
    update public.campaigns as c set payment_method_id = heir.id where c.id = campaign.id;
    if heir.id is null and internal.pause_campaign(campaign.id, 'card_unusable') then
      perform internal.notify_user(
        p_card.user_id, 'campaign_paused', campaign.id || ':' || p_card.id, campaign.id, null,
        '{"reason": "card_unusable"}'
      );
    end if;
  end loop;
end
$$;
comment on function internal.retire_card(public.payment_methods, public.payment_method_status, text) is
'Takes a card out of use. One that goes for good hands its campaigns and its default place to the next card, or the
campaigns pause.';

create function public.finish_detach(p_stripe_payment_method_id text) returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  update public.payment_methods as p set status = 'detached'
  where p.stripe_payment_method_id = p_stripe_payment_method_id and p.status = 'detaching';
end
$$;
comment on function public.finish_detach(text) is
'Second half: Stripe has detached the card. Definer: see record_setup_intent.';
