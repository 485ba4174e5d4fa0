-- migrate:up
-- A match waits for its charge, and meanwhile the feed changes the offer or the user the criteria, so that they fit no more.
-- Found by `make faults`: the match then waited for ever, and reconcile sent it again every time.

create or replace function public.begin_charge(p_campaign_id uuid, p_offer_id text, p_user_id uuid default null) returns jsonb
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
  refusal public.match_verdict;
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

  refusal := verdict; -- by another name than the column's
  if offer.attributes @> campaign.criteria then
    insert into public.matches (campaign_id, offer_id, user_id, verdict, state, considered_at)
    values (
      campaign.id, offer.id, owner, verdict,
      case when verdict = 'matched' then 'charged' else 'refused' end::public.match_state, internal.clock()
    )
    on conflict (campaign_id, offer_id) do update set verdict = excluded.verdict, state = excluded.state;
  else
    update public.matches as m set verdict = refusal, state = 'refused'
    where m.campaign_id = campaign.id and m.offer_id = offer.id and m.state = 'waiting';
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
