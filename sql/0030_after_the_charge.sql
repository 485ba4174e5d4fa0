-- migrate:up
-- What Stripe tells of a payment long after it was made, and of cards and customers.

create table public.disputes (
  id              text primary key check (id ~ '^(dp|du)_'),
  booking_id      uuid not null,
  user_id         uuid not null,
  status          text not null,
  reason          text not null,
  amount_minor    bigint not null check (amount_minor > 0),
  currency        text not null references public.currencies (code) on delete restrict,
  funds_withdrawn boolean not null default false,
  status_at       timestamptz not null,
  funds_at        timestamptz not null default '-infinity',
  opened_at       timestamptz not null default now(),
  closed_at       timestamptz,
  updated_at      timestamptz not null default now(),
  foreign key (booking_id, user_id) references public.bookings (id, user_id) on delete restrict
);
alter table public.disputes enable row level security;
comment on table public.disputes is
'Chargebacks and inquiries as Stripe reports them (https://docs.stripe.com/api/disputes/object).';
comment on column public.disputes.status is
'Stripe''s own word. won, lost, warning_closed and prevented are ends, which no late event undoes.';
comment on column public.disputes.reason is
'The cardholder''s reason, in Stripe''s words (https://docs.stripe.com/disputes/categories).';
comment on column public.disputes.funds_withdrawn is 'Whether the money is with the bank for now.';
comment on column public.disputes.status_at is 'When Stripe made the event that said so: an older one changes nothing.';
comment on column public.disputes.funds_at is 'When Stripe made the event that moved the money.';
create index disputes_booking_idx on public.disputes (booking_id, user_id);
create index disputes_user_open_idx on public.disputes (user_id) where closed_at is null;
create index disputes_currency_idx on public.disputes (currency);

create trigger b_touch before update on public.disputes
for each row execute function internal.touch_updated_at();
create trigger c_keep before delete on public.disputes
for each row execute function internal.refuse_change();
create trigger z_audit after insert or update on public.disputes
for each row execute function internal.audit();

create function internal.lock_booking_of_payment(p_payment_intent_id text) returns public.bookings
language plpgsql
set search_path = ''
as $$
declare
  booking public.bookings;
begin
  select * into booking from public.bookings as b where b.stripe_payment_intent_id = p_payment_intent_id;
  if not found then
    return null;
  end if;
  -- The user's campaigns are paused or resumed together, so they are locked together, in the order of their ids.
  perform from public.campaigns as c where c.user_id = booking.user_id order by c.id for no key update;
  select * into strict booking from public.bookings as b where b.id = booking.id for no key update;
  return booking;
end
$$;
comment on function internal.lock_booking_of_payment(text) is
'The booking of a PaymentIntent, locked after all campaigns of its user; null where it is none of ours.';

create function internal.dispute_rank(p_status text) returns integer
language sql immutable
set search_path = ''
as $$
  select case
    when p_status = 'warning_needs_response' then 1
    when p_status = 'warning_under_review' then 2
    when p_status = 'needs_response' then 3
    when p_status = 'under_review' then 4
    else 5
  end
$$;
comment on function internal.dispute_rank(text) is
'Which of two states of a dispute comes later, where Stripe''s whole seconds do not say.';

create function internal.settle_dispute(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking_of_payment(p_facts ->> 'payment_intent_id');
  known public.disputes;
  ended constant boolean := p_facts ->> 'status' in ('won', 'lost', 'warning_closed', 'prevented');
  observed_at constant timestamptz := coalesce((p_facts ->> 'observed_at')::timestamptz, internal.clock());
begin
  if booking.id is null then
    return jsonb_build_object('result', 'not_ours');
  end if;
  select * into known from public.disputes as d where d.id = p_facts ->> 'dispute_id';
  insert into public.disputes as d (
    id, booking_id, user_id, status, reason, amount_minor, currency, status_at, closed_at
  )
  values (
    p_facts ->> 'dispute_id', booking.id, booking.user_id, p_facts ->> 'status', p_facts ->> 'reason',
    (p_facts ->> 'amount_minor')::bigint, p_facts ->> 'currency', observed_at,
    case when ended then internal.clock() end
  )
  on conflict (id) do update set
    status = excluded.status, status_at = excluded.status_at, closed_at = coalesce(d.closed_at, excluded.closed_at)
  where
    d.closed_at is null
    and (
      ended
      or (excluded.status_at, internal.dispute_rank(excluded.status)) > (d.status_at, internal.dispute_rank(d.status))
    );
  -- Stripe's times have whole seconds: taken and given back within one, the money is back.
  update public.disputes as d set
    funds_withdrawn = (p_facts ->> 'funds_withdrawn')::boolean, funds_at = observed_at
  where
    d.id = p_facts ->> 'dispute_id'
    and p_facts ->> 'funds_withdrawn' is not null
    and (
      d.funds_at < observed_at or (d.funds_at = observed_at and d.funds_withdrawn and p_facts ->> 'funds_withdrawn' = 'false')
    );

  update public.bookings as b set disputed_at = coalesce(b.disputed_at, internal.clock()) where b.id = booking.id;
  if known.id is null then
    perform internal.notify_user(
      booking.user_id, 'dispute_opened', p_facts ->> 'dispute_id', booking.campaign_id, booking.id,
      jsonb_build_object('amount_minor', (p_facts ->> 'amount_minor')::bigint, 'currency', p_facts ->> 'currency')
    );
    if not ended or p_facts ->> 'status' = 'lost' then
      perform internal.pause_campaign(c.id, 'dispute')
      from public.campaigns as c
      where c.user_id = booking.user_id and c.status = 'active';
    end if;
  end if;
  if ended and known.closed_at is null then
    perform internal.end_dispute(booking, p_facts);
  end if;
  return jsonb_build_object('result', 'dispute_' || (p_facts ->> 'status'), 'booking_id', booking.id);
end
$$;
comment on function internal.settle_dispute(jsonb) is
'Records a dispute and pauses the user''s campaigns while it is open; an end stays an end, in whatever order news come.';

create function internal.end_dispute(p_booking public.bookings, p_facts jsonb) returns void
language plpgsql
set search_path = ''
as $$
declare
  lost constant boolean := p_facts ->> 'status' = 'lost';
begin
  perform internal.notify_user(
    p_booking.user_id, case when lost then 'dispute_lost' else 'dispute_won' end, p_facts ->> 'dispute_id',
    p_booking.campaign_id, p_booking.id, '{}'
  );
  if
    lost or exists (select from public.disputes as d where d.user_id = p_booking.user_id and d.closed_at is null)
  then
    return; -- a lost dispute is an engineer's or the user's to resume from
  end if;
  update public.campaigns as c set status = 'active', pause_reason = null
  where
    c.user_id = p_booking.user_id
    and c.status = 'paused'
    and c.pause_reason = 'dispute'
    and c.expires_at > internal.clock();
end
$$;
comment on function internal.end_dispute(public.bookings, jsonb) is
'Tells the end of a dispute; the last one won lets the campaigns go on.';

create function internal.settle_fraud_warning(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking_of_payment(p_facts ->> 'payment_intent_id');
  card public.payment_methods;
begin
  if booking.id is null then
    return jsonb_build_object('result', 'not_ours');
  end if;
  if booking.fraud_warned_at is not null then
    return jsonb_build_object('result', 'already_warned', 'booking_id', booking.id);
  end if;
  update public.bookings as b set fraud_warned_at = internal.clock() where b.id = booking.id;
  perform internal.pause_campaign(c.id, 'fraud_warning')
  from public.campaigns as c
  where c.user_id = booking.user_id and c.status in ('active', 'paused');
  if booking.closing_as is null and booking.status = 'authorized' and booking.capture_amount_minor is null then
    perform internal.call_off(
      booking.id, 'fraud_warning', 'This booking was stopped. The hold on your card is released and nothing was charged.'
    );
  end if;
  select p.* into card
  from public.attempts as a
  inner join public.payment_methods as p on a.payment_method_id = p.id
  where a.booking_id = booking.id
  order by a.ordinal desc
  limit 1
  for update of p;
  if card.status = 'usable' then
    perform internal.retire_card(card, 'unusable', 'early_fraud_warning');
  end if;
  perform internal.notify_user(booking.user_id, 'fraud_warning', booking.id::text, booking.campaign_id, booking.id, '{}');
  perform internal.report_incident(
    'early_fraud_warning', booking.id::text, booking.id,
    'A bank warns of fraud. A hold is voided; money taken is refunded by whoever judges that it was not the cardholder.'
  );
  return jsonb_build_object('result', 'fraud_warning', 'booking_id', booking.id);
end
$$;
comment on function internal.settle_fraud_warning(jsonb) is
'Freezes the card, pauses the campaigns, voids what is only held. Money taken means fulfilled, so giving it back is a
decision for a person (docs/flows/dispute.md).';

create function internal.settle_review(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking_of_payment(p_facts ->> 'payment_intent_id');
  reason constant text := p_facts ->> 'closed_reason';
begin
  if booking.id is null then
    return jsonb_build_object('result', 'not_ours');
  end if;
  if (p_facts ->> 'open')::boolean then
    -- A review that was closed already is not opened again by an event that came late.
    if exists (
      select from public.stripe_events as e
      where
        e.object_id = p_facts ->> 'review_id' and e.type = 'review.closed' and e.status = 'applied'
    ) then
      return jsonb_build_object('result', 'old_news', 'booking_id', booking.id);
    end if;
    update public.bookings as b set under_review_since = coalesce(b.under_review_since, internal.clock())
    where b.id = booking.id;
    perform internal.notify_user(
      booking.user_id, 'booking_under_review', booking.id::text, booking.campaign_id, booking.id, '{}'
    );
    return jsonb_build_object('result', 'review_opened', 'booking_id', booking.id);
  end if;
  update public.bookings as b set under_review_since = null where b.id = booking.id;
  if
    reason is distinct from 'approved' and booking.status = 'authorized' and booking.closing_as is null
    and booking.capture_amount_minor is null
  then
    perform internal.call_off(
      booking.id, 'review_' || coalesce(reason, 'closed'),
      'This booking was stopped. The hold on your card is released and nothing was charged.'
    );
  end if;
  return jsonb_build_object('result', 'review_closed', 'booking_id', booking.id);
end
$$;
comment on function internal.settle_review(jsonb) is
'While Radar''s review is open, fulfilment may not capture; an approval lets it, anything else voids the hold.';

create function internal.settle_hold_expired(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking_of_payment(p_facts ->> 'payment_intent_id');
begin
  if booking.id is null then
    return jsonb_build_object('result', 'not_ours');
  end if;
  if booking.status = 'authorized' then
    perform internal.call_off(booking.id, 'hold_expired', internal.hold_expired_sentence());
  end if;
  return jsonb_build_object('result', 'hold_expired', 'booking_id', booking.id);
end
$$;
comment on function internal.settle_hold_expired(jsonb) is
'The bank let go of a hold: the booking ends once its PaymentIntent is seen cancelled.';

create function internal.remove_card(p_card public.payment_methods) returns void
language plpgsql
set search_path = ''
as $$
begin
  perform internal.retire_card(p_card, 'detached', null);
  if p_card.status <> 'detaching' then
    perform internal.notify_user(
      p_card.user_id, 'card_removed', p_card.id::text, null, null, jsonb_build_object('payment_method_id', p_card.id)
    );
  end if;
end
$$;
comment on function internal.remove_card(public.payment_methods) is
'A card that is gone from Stripe: its campaigns go to the next, and the user is told, unless the user did it.';

create function internal.settle_card(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  owner uuid;
  card public.payment_methods;
  expiry_blocks constant text[] := '{expired_card, expired_payment_method, invalid_expiry_month, invalid_expiry_year, confirm_card_data}';
  renewed boolean;
begin
  select p.user_id into owner from public.payment_methods as p
  where p.stripe_payment_method_id = p_facts ->> 'stripe_payment_method_id';
  if not found then
    return jsonb_build_object('result', 'not_ours');
  end if;
  perform from public.customers as c where c.user_id = owner for no key update;
  perform from public.campaigns as c where c.user_id = owner order by c.id for no key update;
  select * into strict card from public.payment_methods as p
  where p.stripe_payment_method_id = p_facts ->> 'stripe_payment_method_id'
  for update;
  if card.status = 'detached' then
    return jsonb_build_object('result', 'already_detached');
  end if;

  case p_facts ->> 'news'
    when 'detached' then
      perform internal.remove_card(card);
      return jsonb_build_object('result', 'detached');
    when 'mandate_inactive' then
      if card.status = 'usable' then
        perform internal.retire_card(card, 'unusable', 'mandate_inactive');
        perform internal.notify_user(
          owner, 'card_unusable', card.id || ':mandate_inactive', null, null, jsonb_build_object(
            'payment_method_id', card.id,
            'user_message', 'Your bank has ended the permission to charge this card. Please save it again or use another.'
          )
        );
      end if;
      return jsonb_build_object('result', 'mandate_inactive');
    when 'mandate_active' then
      return jsonb_build_object('result', 'mandate_active');
    else
      if
        card.facts_at > (p_facts ->> 'observed_at')::timestamptz
        or (
          -- Of two within one of Stripe's whole seconds, a card is renewed, never made older.
          card.facts_at = (p_facts ->> 'observed_at')::timestamptz
          and make_date((p_facts #>> '{card,exp_year}')::integer, (p_facts #>> '{card,exp_month}')::integer, 1)
          < make_date(card.exp_year, card.exp_month, 1)
        )
      then
        return jsonb_build_object('result', 'old_news');
      end if;
      renewed := (p_facts #>> '{card,exp_year}')::integer * 12 + (p_facts #>> '{card,exp_month}')::integer
        > card.exp_year * 12 + card.exp_month;
      update public.payment_methods as p set
        brand = p_facts #>> '{card,brand}',
        last4 = p_facts #>> '{card,last4}',
        exp_month = (p_facts #>> '{card,exp_month}')::smallint,
        exp_year = (p_facts #>> '{card,exp_year}')::smallint,
        facts_at = coalesce((p_facts ->> 'observed_at')::timestamptz, p.facts_at),
        status = case
          when p.status = 'unusable' and renewed and p.unusable_reason = any(expiry_blocks) then 'usable' else p.status
        end,
        unusable_reason = case
          when p.status = 'unusable' and renewed and p.unusable_reason = any(expiry_blocks) then null
          else p.unusable_reason
        end
      where p.id = card.id;
      return jsonb_build_object('result', 'card_updated');
  end case;
end
$$;
comment on function internal.settle_card(jsonb) is
'A card was renewed, detached or lost its mandate: refresh what we keep, lift a block for expiry, or let the next card
take over.';

create function internal.settle_customer_deleted(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  customer public.customers;
  card public.payment_methods;
begin
  select * into customer from public.customers as c
  where c.stripe_customer_id = p_facts ->> 'stripe_customer_id'
  for no key update;
  if not found then
    return jsonb_build_object('result', 'not_ours');
  end if;
  if customer.deleted_at is not null then
    return jsonb_build_object('result', 'already_deleted');
  end if;
  update public.customers as c set deleted_at = internal.clock() where c.user_id = customer.user_id;
  perform from public.campaigns as c where c.user_id = customer.user_id order by c.id for no key update;
  for card in
    select * from public.payment_methods as p
    where p.user_id = customer.user_id and p.status <> 'detached'
    order by p.id
    for update
  loop
    -- Read again: the card before may have made this one the default.
    select * into strict card from public.payment_methods as p where p.id = card.id;
    perform internal.remove_card(card);
  end loop;
  update public.campaigns as c set payment_method_id = null
  where c.user_id = customer.user_id and c.status in ('active', 'paused');
  return jsonb_build_object('result', 'customer_deleted');
end
$$;
comment on function internal.settle_customer_deleted(jsonb) is
'Stripe''s Customer is gone, all its cards with it: the campaigns pause until a card is saved again.';
