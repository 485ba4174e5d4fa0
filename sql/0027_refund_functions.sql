-- migrate:up
-- Money going back: what Stripe says of a refund, whoever asked for it.

create function internal.find_refund(p_facts jsonb) returns public.refunds
language plpgsql
set search_path = ''
as $$
declare
  booking public.bookings;
  refund public.refunds;
begin
  select b.* into booking from public.bookings as b
  where
    b.stripe_payment_intent_id = p_facts ->> 'payment_intent_id'
    or b.id = (select r.booking_id from public.refunds as r where r.id::text = p_facts ->> 'refund_id');
  if not found then
    return null;
  end if;
  perform from public.campaigns as c where c.id = booking.campaign_id for no key update;
  perform from public.bookings as b where b.id = booking.id for no key update;
  select * into refund from public.refunds as r
  where
    r.booking_id = booking.id
    and (r.stripe_refund_id = p_facts ->> 'stripe_refund_id' or r.id::text = p_facts ->> 'refund_id')
  order by (r.stripe_refund_id = p_facts ->> 'stripe_refund_id') desc nulls last
  limit 1
  for update;
  if not found and booking.capture_amount_minor < booking.amount_minor and (
    p_facts ->> 'stripe_refund_id' = booking.stripe_release_id
    or (
      booking.stripe_release_id is null
      and (p_facts ->> 'amount_minor')::bigint = booking.amount_minor - booking.capture_amount_minor
      and p_facts ->> 'refund_id' is null
    )
  ) then
    update public.bookings as b set stripe_release_id = p_facts ->> 'stripe_refund_id' where b.id = booking.id;
    return null;
  end if;
  if not found and p_facts ->> 'stripe_refund_id' is not null then
    insert into public.refunds (booking_id, user_id, amount_minor, currency, reason, stripe_refund_id)
    values (
      booking.id, booking.user_id, (p_facts ->> 'amount_minor')::bigint, p_facts ->> 'currency',
      coalesce(p_facts ->> 'reason', 'made_at_stripe'), p_facts ->> 'stripe_refund_id'
    )
    returning * into refund;
  end if;
  return refund;
end
$$;
comment on function internal.find_refund(jsonb) is
'The refund that facts speak of, its booking and campaign locked; one made in Stripe''s dashboard gets its row here. Null
for what is none of ours, and for the Refund by which Stripe books the released part of a partly captured hold.';

create function internal.settle_refund(p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  refund public.refunds := internal.find_refund(p_facts);
  booking public.bookings;
  now_status public.refund_status;
  counted_before boolean;
  counts_now boolean;
begin
  if refund.id is null then
    return jsonb_build_object('result', 'not_ours');
  end if;
  if p_facts ->> 'status' = 'unknown' then
    update public.bookings as b set leased_until = null where b.id = refund.booking_id;
    return jsonb_build_object('result', 'unknown', 'booking_id', refund.booking_id);
  end if;
  now_status := p_facts ->> 'status';
  -- Rank: an end stays an end, but that a bank can send a succeeded refund back.
  if
    refund.status in ('failed', 'canceled') or refund.status = now_status
    or (refund.status = 'succeeded' and now_status <> 'failed')
  then
    return jsonb_build_object('result', 'already_' || refund.status, 'booking_id', refund.booking_id);
  end if;
  counted_before := refund.status in ('pending', 'succeeded');
  counts_now := now_status in ('pending', 'succeeded');
  update public.refunds as r set
    status = now_status,
    stripe_refund_id = coalesce(r.stripe_refund_id, p_facts ->> 'stripe_refund_id'),
    failure_reason = p_facts ->> 'failure_reason'
  where r.id = refund.id;
  select * into strict booking from public.bookings as b where b.id = refund.booking_id;

  if counts_now and not counted_before then
    perform internal.count_refund(booking, refund, 'refund');
  elsif counted_before and not counts_now then
    perform internal.count_refund(booking, refund, 'refund_reversed');
  end if;
  if not counts_now then
    perform internal.report_incident(
      'refund_failed', refund.id::text, booking.id, coalesce(p_facts ->> 'failure_reason', 'unknown')
    );
  end if;
  if counts_now <> counted_before or p_facts ->> 'stripe_refund_id' is not null then
    perform internal.notify_user(
      booking.user_id, case when counts_now then 'refund_issued' else 'refund_failed' end, refund.id::text,
      booking.campaign_id, booking.id,
      jsonb_build_object('amount_minor', refund.amount_minor, 'currency', refund.currency)
    );
  end if;
  return jsonb_build_object('result', 'refund_' || now_status, 'booking_id', booking.id);
end
$$;
comment on function internal.settle_refund(jsonb) is
'Moves a refund to what Stripe says of it. Pending counts as given back; a failure later takes the entry back.';

create function internal.count_refund(p_booking public.bookings, p_refund public.refunds, p_kind public.ledger_kind)
returns void
language plpgsql
set search_path = ''
as $$
declare
  change constant bigint := case when p_kind = 'refund' then p_refund.amount_minor else -p_refund.amount_minor end;
  refunded constant bigint := p_booking.amount_refunded_minor + change;
begin
  -- A late success on a dead booking was never spent, so there is no budget to give back.
  if exists (select from public.ledger_entries as l where l.booking_id = p_booking.id and l.kind = 'spend') then
    insert into public.ledger_entries (campaign_id, booking_id, refund_id, kind, amount_minor)
    values (p_booking.campaign_id, p_booking.id, p_refund.id, p_kind, p_refund.amount_minor);
  end if;
  update public.bookings as b set
    amount_refunded_minor = refunded,
    status = case
      when b.status = 'confirmed' and refunded >= b.amount_captured_minor then 'refunded'
      when b.status = 'refunded' and refunded < b.amount_captured_minor then 'confirmed'
      else b.status
    end
  where b.id = p_booking.id;
end
$$;
comment on function internal.count_refund(public.bookings, public.refunds, public.ledger_kind) is
'Adds a refund to the books, or takes it out of them again.';

create function public.settle_refund(p_facts jsonb, p_take_next boolean default false) returns jsonb
language sql security definer
set search_path = ''
as $$
  select internal.go_on(internal.settle_refund(p_facts), p_take_next)
$$;
comment on function public.settle_refund(jsonb, boolean) is
'Second committed half of a refund. Definer: its caller holds no rights on the tables.';
