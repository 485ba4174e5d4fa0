-- migrate:up
-- What users do to their campaigns beyond editing, and what they read of them.

create function internal.reconsider_offers(p_campaign public.campaigns) returns void
language sql
set search_path = ''
as $$
  update public.matches as m set
    verdict = internal.offer_verdict(p_campaign, o, y),
    state = case
      when p_campaign.auto_book and internal.offer_verdict(p_campaign, o, y) = 'matched' then 'waiting' else 'noted'
    end::public.match_state
  from public.offers as o
  inner join public.currencies as y on o.currency = y.code
  where
    m.campaign_id = p_campaign.id
    and m.state in ('noted', 'refused')
    and o.id = m.offer_id
    and o.expires_at > internal.clock()
$$;
comment on function internal.reconsider_offers(public.campaigns) is
'Looks again at the offers that are still live for a campaign that changed; reconcile sends those now waiting.';

create function public.move_campaign(p_id uuid, p_action text) returns void
language plpgsql security definer
set search_path = ''
as $$
declare
  campaign public.campaigns;
begin
  select * into campaign from public.campaigns as c where c.id = p_id and c.user_id = auth.uid() for no key update;
  if not found then
    perform internal.problem(404, 'campaign_not_found');
  end if;
  case p_action
    when 'pause' then
      if campaign.status not in ('active', 'paused') then
        perform internal.problem(409, 'campaign_not_active');
      end if;
      perform internal.pause_campaign(p_id, 'user');
    when 'resume' then
      if
        campaign.status = 'paused'
        and exists (select from public.disputes as d where d.user_id = auth.uid() and d.closed_at is null)
      then
        perform internal.problem(409, 'dispute_open');
      end if;
      if campaign.status = 'paused' and campaign.expires_at > internal.clock() then
        update public.campaigns as c set status = 'active', pause_reason = null where c.id = p_id
        returning * into campaign;
        perform internal.reconsider_offers(campaign);
      elsif campaign.status <> 'active' then
        perform internal.problem(409, 'campaign_not_active');
      end if;
    when 'cancel' then
      if campaign.status in ('active', 'paused') then
        update public.campaigns as c set status = 'cancelled', pause_reason = null where c.id = p_id;
        -- What waits for a charge is not owed one any more.
        update public.matches as m set state = 'refused', verdict = 'campaign_not_active'
        where m.campaign_id = p_id and m.state = 'waiting';
      elsif campaign.status <> 'cancelled' then
        perform internal.problem(409, 'campaign_not_active');
      end if;
    else
      perform internal.problem(422, 'unknown_action');
  end case;
end
$$;
comment on function public.move_campaign(uuid, text) is
'Pauses, resumes or cancels a campaign of the caller; saying it twice is saying it once. Bookings in flight go on.
Definer, because no user may write a status; it acts for auth.uid() alone.';

create function public.campaign_timeline(
  p_campaign_id uuid, p_limit integer default 50, p_before timestamptz default null, p_before_offer_id text default null
) returns jsonb
language sql stable
set search_path = ''
as $$
  select case when exists (select from public.campaigns as c where c.id = p_campaign_id) then coalesce((
    select jsonb_agg(entries.entry) from (
      select
      jsonb_build_object(
        'offer_id', m.offer_id,
        'considered_at', m.considered_at,
        'verdict', m.verdict,
        'state', m.state,
        'offer', jsonb_build_object(
          'attributes', o.attributes, 'amount_minor', o.amount_minor, 'currency', o.currency,
          'expires_at', o.expires_at
        ),
        'booking', (select to_jsonb(v) from public.booking_view as v where v.id = b.id)
      ) as entry
    from public.matches as m
    inner join public.offers as o on m.offer_id = o.id
    left join public.bookings as b on m.campaign_id = b.campaign_id and m.offer_id = b.offer_id
    where
      m.campaign_id = p_campaign_id
      and (p_before is null or (m.considered_at, m.offer_id) < (p_before, coalesce(p_before_offer_id, '')))
    order by m.considered_at desc, m.offer_id desc
    limit least(p_limit, 101)
    ) as entries
  ), '[]'::jsonb) end
$$;
comment on function public.campaign_timeline(uuid, integer, timestamptz, text) is
'Every offer considered for a campaign, newest first: the verdict, and the booking with its attempts if there is one;
null for a campaign that the caller cannot see. Invoker: row-level security decides what the caller sees.';

create function public.campaign_preflight(p_campaign_id uuid) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  campaign public.campaigns;
  currency public.currencies;
  card public.payment_methods;
  findings jsonb := '[]';
  card_ends timestamptz;
begin
  select * into campaign from public.campaigns as c where c.id = p_campaign_id and c.user_id = auth.uid();
  if not found then
    perform internal.problem(404, 'campaign_not_found');
  end if;
  select * into strict currency from public.currencies as y where y.code = campaign.currency;
  card := internal.pick_card(campaign);
  if campaign.status <> 'active' then
    findings := findings || internal.finding('error', 'campaign_not_active', format('The campaign is %s.', campaign.status));
  end if;
  if campaign.expires_at <= internal.clock() then
    findings := findings || internal.finding('error', 'campaign_expired', 'The campaign has ended.');
  end if;
  if card.id is null then
    findings := findings || internal.finding('error', 'no_usable_card', 'No saved card can be charged for this campaign.');
  else
    card_ends := (make_date(card.exp_year, card.exp_month, 1) + interval '1 month')::date at time zone 'utc';
    if card_ends <= internal.clock() then
      findings := findings || internal.finding(
        'warning', 'card_expired',
        'The card has expired. The bank may have renewed it, so a charge is still tried.'
      );
    elsif card_ends < campaign.expires_at then
      findings := findings || internal.finding(
        'warning', 'card_expires_first', 'The card expires before the campaign ends.'
      );
    end if;
  end if;
  if campaign.max_price_minor < currency.minimum_charge_minor then
    findings := findings || internal.finding(
      'error', 'amount_below_minimum', 'The highest price is below the smallest amount that can be charged.'
    );
  end if;
  if campaign.budget_minor - campaign.reserved_minor - campaign.spent_minor < currency.minimum_charge_minor then
    findings := findings || internal.finding('error', 'over_budget', 'The budget is used up.');
  elsif campaign.budget_minor - campaign.reserved_minor - campaign.spent_minor < campaign.max_price_minor then
    findings := findings || internal.finding(
      'warning', 'budget_below_max_price', 'What is left of the budget does not cover the highest price.'
    );
  end if;
  if campaign.bookings_in_flight + campaign.bookings_confirmed >= campaign.max_bookings then
    findings := findings || internal.finding('error', 'max_bookings_reached', 'The campaign has all its bookings.');
  end if;
  return jsonb_build_object(
    'ready', not findings @? '$[*] ? (@.severity == "error")', 'findings', findings
  );
end
$$;
comment on function public.campaign_preflight(uuid) is
'Would a charge work now? A list of findings, in the order they were looked for. Definer, because picking the card reads
columns that users may not; it acts for auth.uid() alone.';

create function internal.finding(p_severity text, p_code text, p_message text) returns jsonb
language sql immutable
set search_path = ''
as $$
  select jsonb_build_object('severity', p_severity, 'code', p_code, 'message', p_message)
$$;
comment on function internal.finding(text, text, text) is 'One finding of a preflight.';
