-- migrate:up
-- Before Stripe: may this be charged, on which card, and the rows that say so.

create function internal.offer_verdict(
  p_campaign public.campaigns, p_offer public.offers, p_currency public.currencies
) returns public.match_verdict
language sql stable
set search_path = ''
as $$
  select case
    when p_campaign.status <> 'active' or p_campaign.expires_at <= internal.clock() then 'campaign_not_active'
    when p_offer.expires_at <= internal.clock() then 'offer_expired'
    when not p_offer.attributes @> p_campaign.criteria then 'criteria_mismatch'
    when p_offer.currency <> p_campaign.currency then 'currency_mismatch'
    when p_offer.amount_minor > p_campaign.max_price_minor then 'over_max_price'
    when
      p_offer.amount_minor < p_currency.minimum_charge_minor or p_offer.amount_minor % p_currency.amount_step_minor <> 0
      then 'amount_below_minimum'
    when p_campaign.bookings_in_flight + p_campaign.bookings_confirmed >= p_campaign.max_bookings
      then 'max_bookings_reached'
    when p_offer.amount_minor > p_campaign.budget_minor - p_campaign.reserved_minor - p_campaign.spent_minor
      then 'over_budget'
    else 'matched'
  end::public.match_verdict
$$;
comment on function internal.offer_verdict(public.campaigns, public.offers, public.currencies) is
'Whether an offer may be booked for a campaign as both stand: used when offers come in and again under the lock.';

create function internal.pick_card(p_campaign public.campaigns, p_booking_id uuid default null)
returns public.payment_methods
language sql stable
set search_path = ''
as $$
  -- The campaign's card; without one, the default; then, if the user agreed to backups, the chain. A booking never
  -- falls back to a card that it has tried.
  select p
  from public.payment_methods as p
  where
    p.user_id = p_campaign.user_id
    and p.status = 'usable'
    and (
      p_campaign.use_backups
      or p.id = p_campaign.payment_method_id
      or (p_campaign.payment_method_id is null and p.is_default)
    )
    and not exists (
      select from public.attempts as a where a.booking_id = p_booking_id and a.payment_method_id = p.id
    )
  order by (p.id = p_campaign.payment_method_id) desc nulls last, p.is_default desc, p.backup_position nulls last,
    p.created_at, p.id
  limit 1
$$;
comment on function internal.pick_card(public.campaigns, uuid) is
'The card to charge next for a campaign, null where none may be.';

create function internal.velocity_exceeded(p_user_id uuid, p_payment_method_id uuid) returns boolean
language sql stable
set search_path = ''
as $$
  select
    (
      select count(*) from public.bookings as b
      where b.user_id = p_user_id and b.created_at > internal.clock() - interval '1 hour'
    ) >= s.velocity_bookings_per_hour
    or (
      select count(distinct a.payment_method_id) from public.attempts as a
      where
        a.user_id = p_user_id
        and a.created_at > internal.clock() - interval '1 day'
        and a.payment_method_id <> p_payment_method_id
    ) >= s.velocity_cards_per_day
  from internal.settings as s
$$;
comment on function internal.velocity_exceeded(uuid, uuid) is 'Whether another booking now would be too fast for one user.';

create function internal.start_attempt(p_booking public.bookings, p_payment_method_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into public.attempts (booking_id, user_id, payment_method_id, ordinal, created_at)
  select p_booking.id, p_booking.user_id, p_payment_method_id, count(*) + 1, internal.clock()
  from public.attempts as a
  where a.booking_id = p_booking.id;
  update public.bookings as b set status = 'charging', action_expires_at = null, retry_at = null
  where b.id = p_booking.id and b.status <> 'charging';
end
$$;
comment on function internal.start_attempt(public.bookings, uuid) is
'Commits the intention to charge a card; the Stripe call follows and may be repeated under the attempt''s id.';

create function internal.radar_metadata(p_campaign public.campaigns, p_card public.payment_methods) returns jsonb
language sql stable
set search_path = ''
as $$
  -- Strings, as Stripe's metadata are; ages in whole days, counts without the booking that is beginning.
  select jsonb_build_object(
    'card_age_days', (internal.clock()::date - p_card.created_at::date)::text,
    'campaign_age_days', (internal.clock()::date - p_campaign.created_at::date)::text,
    'bookings_last_hour', (
      select count(*)::text from public.bookings as b
      where b.user_id = p_campaign.user_id and b.created_at > internal.clock() - interval '1 hour'
    ),
    'declines_last_day', (
      select count(*)::text from public.attempts as a
      where
        a.user_id = p_campaign.user_id
        and a.status = 'declined'
        and a.created_at > internal.clock() - interval '1 day'
    )
  )
$$;
comment on function internal.radar_metadata(public.campaigns, public.payment_methods) is
'What custom Radar rules may look at, as it is when a booking begins (docs/radar-rules.md).';

create function public.begin_charge(p_campaign_id uuid, p_offer_id text, p_user_id uuid default null) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  owner uuid;
  campaign public.campaigns;
  offer public.offers;
  booking public.bookings;
  card public.payment_methods;
  verdict public.match_verdict;
  currency public.currencies;
begin
  select c.user_id into owner from public.campaigns as c
  where c.id = p_campaign_id and (p_user_id is null or c.user_id = p_user_id);
  if not found then
    perform internal.problem(404, 'campaign_not_found');
  end if;
  -- One user's charges begin one after the other, or the velocity limits could be outrun by many campaigns at once.
  perform from public.customers as u where u.user_id = owner for no key update;
  select * into strict campaign from public.campaigns as c where c.id = p_campaign_id for no key update;
  select * into offer from public.offers as o where o.id = p_offer_id for share;
  if not found then
    perform internal.problem(404, 'offer_not_found');
  end if;

  select * into booking from public.bookings as b where b.campaign_id = p_campaign_id and b.offer_id = p_offer_id;
  if found then
    return jsonb_build_object(
      'result', 'exists', 'next', internal.next_step(booking.id, true), 'booking', internal.booking_json(booking.id)
    );
  end if;

  select * into strict currency from public.currencies as y where y.code = offer.currency;
  verdict := internal.offer_verdict(campaign, offer, currency);
  if verdict = 'matched' then
    card := internal.pick_card(campaign);
    if card.id is not null then
      -- Against a detach at the same moment: it waits for us, or we see what it did.
      select * into card from public.payment_methods as p where p.id = card.id and p.status = 'usable' for share;
    end if;
    verdict := case
      when card.id is null then 'no_usable_card'
      when internal.velocity_exceeded(owner, card.id) then 'velocity_limit'
      else 'matched'
    end;
  end if;

  if offer.attributes @> campaign.criteria then
    insert into public.matches (campaign_id, offer_id, user_id, verdict, state, considered_at)
    values (
      campaign.id, offer.id, owner, verdict,
      case when verdict = 'matched' then 'charged' else 'refused' end::public.match_state, internal.clock()
    )
    on conflict (campaign_id, offer_id) do update set verdict = excluded.verdict, state = excluded.state;
  end if;
  if verdict <> 'matched' then
    return jsonb_build_object('result', 'refused', 'refusal', verdict);
  end if;

  insert into public.bookings (
    campaign_id, offer_id, user_id, amount_minor, currency, capture, radar_metadata, created_at
  )
  values (campaign.id, offer.id, owner, offer.amount_minor, offer.currency, campaign.capture,
    internal.radar_metadata(campaign, card), internal.clock()
  )
  returning * into booking;
  insert into public.ledger_entries (campaign_id, booking_id, kind, amount_minor)
  values (campaign.id, booking.id, 'reserve', booking.amount_minor);
  perform internal.start_attempt(booking, card.id);
  return jsonb_build_object(
    'result', 'begun', 'next', internal.next_step(booking.id, true), 'booking', internal.booking_json(booking.id)
  );
end
$$;
comment on function public.begin_charge(uuid, text, uuid) is
'First committed half of a charge: checks everything under the campaign''s lock, reserves budget, starts attempt 1.
For a pair that has a booking already it is that booking, with the step that is due, if nobody is at it.
p_user_id null: a machine may charge any campaign. Definer: its caller holds no rights on the tables.';

create function public.ingest_offers(p_offers jsonb) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  locked text[];
  unknown_currencies text[];
begin
  select array_agg(distinct i.currency) into unknown_currencies
  from jsonb_to_recordset(p_offers) as i (currency text)
  where not exists (select from public.currencies as y where y.code = i.currency);
  if unknown_currencies is not null then
    perform internal.problem(422, 'unknown_currency', array_to_string(unknown_currencies, ', '));
  end if;

  -- In the order of their ids, so that two feeds posting the same offers can't deadlock.
  perform from public.offers as o
  where o.id in (select i.id from jsonb_to_recordset(p_offers) as i (id text))
  order by o.id
  for no key update;
  select coalesce(array_agg(o.id), '{}') into locked
  from public.offers as o
  inner join jsonb_to_recordset(p_offers) as i (id text, attributes jsonb, amount_minor bigint, currency text)
    on o.id = i.id
  where
    (o.attributes, o.amount_minor, o.currency) is distinct from (i.attributes, i.amount_minor, i.currency)
    and exists (select from public.bookings as b where b.offer_id = o.id);

  insert into public.offers (id, attributes, amount_minor, currency, expires_at)
  select i.id, i.attributes, i.amount_minor, i.currency, i.expires_at
  from
    jsonb_to_recordset(p_offers)
      as i (id text, attributes jsonb, amount_minor bigint, currency text, expires_at timestamptz)
  where i.id <> all(locked)
  order by i.id
  on conflict (id) do update set
    attributes = excluded.attributes,
    amount_minor = excluded.amount_minor,
    currency = excluded.currency,
    expires_at = excluded.expires_at;

  insert into public.matches (campaign_id, offer_id, user_id, verdict, state, considered_at)
  select
    fit.campaign_id, fit.offer_id, fit.user_id, fit.verdict,
    case when fit.verdict = 'matched' and fit.auto_book then 'waiting' else 'noted' end::public.match_state,
    internal.clock()
  from (
    select c.id as campaign_id, o.id as offer_id, c.user_id, c.auto_book, internal.offer_verdict(c, o, y) as verdict
    from jsonb_to_recordset(p_offers) as i (id text)
    inner join public.offers as o on i.id = o.id
    inner join public.currencies as y on o.currency = y.code
    inner join public.campaigns as c on o.attributes @> c.criteria
    where c.status in ('active', 'paused') and c.expires_at > internal.clock()
  ) as fit
  order by fit.campaign_id, fit.offer_id
  on conflict (campaign_id, offer_id) do update set
    verdict = excluded.verdict, state = excluded.state, considered_at = excluded.considered_at
  where public.matches.state in ('noted', 'refused');

  return (
    select coalesce(jsonb_agg(
      jsonb_build_object(
        'id', i.id,
        'status', case when i.id = any(locked) then 'locked' else 'stored' end,
        'campaigns', (
          select coalesce(jsonb_agg(m.campaign_id order by m.campaign_id), '[]') from public.matches as m
          where m.offer_id = i.id and m.verdict = 'matched'
        ),
        'waiting', (
          select coalesce(jsonb_agg(m.campaign_id order by m.campaign_id), '[]') from public.matches as m
          where m.offer_id = i.id and m.state = 'waiting'
        )
      ) order by i.place
    ), '[]')
    from rows from (jsonb_to_recordset(p_offers) as (id text)) with ordinality as i (id, place)
  );
end
$$;
comment on function public.ingest_offers(jsonb) is
'Stores offers and their matches in one transaction and answers, per offer, the campaigns that it matched and those
whose charge is waiting. An offer that has been booked and would change is left as it is: locked.
Definer: its caller holds no rights on the tables.';
