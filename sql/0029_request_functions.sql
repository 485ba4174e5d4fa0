-- migrate:up
-- What users and fulfilment ask for after a booking has begun: cancel, capture, void, refund. Each commits the
-- intention and answers the step that is due; asking twice is asking once.

create function internal.lock_booking(p_booking_id uuid, p_user_id uuid) returns public.bookings
language plpgsql
set search_path = ''
as $$
declare
  booking public.bookings;
begin
  select * into booking from public.bookings as b
  where b.id = p_booking_id and (p_user_id is null or b.user_id = p_user_id);
  if not found then
    perform internal.problem(404, 'booking_not_found');
  end if;
  perform from public.campaigns as c where c.id = booking.campaign_id for no key update;
  select * into strict booking from public.bookings as b where b.id = p_booking_id for no key update;
  return booking;
end
$$;
comment on function internal.lock_booking(uuid, uuid) is
'A booking, of that user if one is named, locked after its campaign. 404 where there is none.';

create function internal.requested(p_booking_id uuid) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  step constant jsonb := internal.next_step(p_booking_id, true);
begin
  return jsonb_build_object('next', step, 'booking', internal.booking_json(p_booking_id));
end
$$;
comment on function internal.requested(uuid) is 'The answer to a request: the booking, and the step that is due.';

create function public.begin_cancel(p_booking_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking(p_booking_id, p_user_id);
begin
  if booking.status in ('confirmed', 'refunded', 'failed') or booking.capture_amount_minor is not null
    or booking.closing_as = 'failed'
  then
    perform internal.problem(409, 'booking_not_cancellable');
  end if;
  perform internal.call_off(booking.id, 'cancelled_by_user', 'You cancelled this booking. Nothing is charged.');
  return internal.requested(booking.id);
end
$$;
comment on function public.begin_cancel(uuid, uuid) is
'Calls off a booking that is not made yet. Should its payment have succeeded meanwhile, it is refunded.
Definer: its caller holds no rights on the tables.';

create function public.begin_capture(p_booking_id uuid, p_amount_minor bigint default null) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking(p_booking_id, null);
  wanted_minor constant bigint := coalesce(p_amount_minor, booking.capture_amount_minor, booking.amount_minor);
begin
  if wanted_minor > booking.amount_minor then
    perform internal.problem(422, 'amount_too_large', 'More than the hold cannot be captured.');
  end if;
  if booking.status in ('confirmed', 'refunded') and booking.capture = 'manual' then
    if p_amount_minor is not null and p_amount_minor <> booking.amount_captured_minor then
      perform internal.problem(409, 'already_captured');
    end if;
    return internal.requested(booking.id);
  end if;
  if booking.status <> 'authorized' or booking.closing_as is not null then
    perform internal.problem(409, 'booking_not_authorized');
  end if;
  if booking.under_review_since is not null then
    perform internal.problem(409, 'booking_under_review');
  end if;
  if booking.capture_amount_minor is distinct from wanted_minor and booking.capture_amount_minor is not null then
    perform internal.problem(409, 'already_captured');
  end if;
  update public.bookings as b set capture_amount_minor = wanted_minor where b.id = booking.id;
  return internal.requested(booking.id);
end
$$;
comment on function public.begin_capture(uuid, bigint) is
'Takes the held money, or a part of it; the rest is released. Definer: see begin_cancel.';

create function public.begin_void(p_booking_id uuid) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking(p_booking_id, null);
begin
  if booking.status = 'cancelled' or booking.closing_as = 'cancelled' then
    return internal.requested(booking.id);
  end if;
  if booking.status <> 'authorized' or booking.capture_amount_minor is not null or booking.closing_as is not null then
    perform internal.problem(409, 'booking_not_authorized');
  end if;
  perform internal.call_off(
    booking.id, 'voided_by_fulfilment',
    'The booking could not be completed. The hold on your card is released and nothing was charged.'
  );
  return internal.requested(booking.id);
end
$$;
comment on function public.begin_void(uuid) is 'Releases a hold. Definer: see begin_cancel.';

create function public.begin_refund(
  p_booking_id uuid, p_amount_minor bigint default null, p_reason text default null, p_idempotency_key text default null
) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  booking constant public.bookings := internal.lock_booking(p_booking_id, null);
  -- Without a key of the caller's, the same request is the same refund, until that has failed: two of the same amount need
  -- two keys.
  key constant text := coalesce(p_idempotency_key, format(
    'unkeyed:%s:%s', coalesce(p_amount_minor::text, 'rest'),
    (select count(*) from public.refunds as r where r.booking_id = p_booking_id and r.status in ('failed', 'canceled'))
  ));
  refund public.refunds;
  open_minor bigint;
begin
  select * into refund from public.refunds as r where r.booking_id = booking.id and r.idempotency_key = key;
  if found then
    if p_amount_minor is not null and p_amount_minor <> refund.amount_minor then
      perform internal.problem(409, 'idempotency_key_reused');
    end if;
    return internal.requested(booking.id);
  end if;
  if booking.status not in ('confirmed', 'refunded') then
    perform internal.problem(409, 'booking_not_refundable');
  end if;
  select coalesce(sum(r.amount_minor), 0) into open_minor from public.refunds as r
  where r.booking_id = booking.id and r.status = 'requested';
  open_minor := booking.amount_captured_minor - booking.amount_refunded_minor - open_minor;
  if open_minor <= 0 or coalesce(p_amount_minor, open_minor) > open_minor then
    perform internal.problem(409, 'refund_exceeds_charge', format('At most %s can be refunded.', greatest(open_minor, 0)));
  end if;
  insert into public.refunds (booking_id, user_id, amount_minor, currency, reason, idempotency_key)
  values (
    booking.id, booking.user_id, coalesce(p_amount_minor, open_minor), booking.currency,
    coalesce(p_reason, 'requested_by_customer'), key
  );
  return internal.requested(booking.id);
end
$$;
comment on function public.begin_refund(uuid, bigint, text, text) is
'Gives money back, all that is left or a part. Definer: see begin_cancel.';

create function public.stop_all_campaigns(p_user_id uuid) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  stopped uuid[];
  called_off uuid[];
begin
  with locked as (
    select c.id from public.campaigns as c
    where c.user_id = p_user_id and (c.status = 'active' or c.pause_reason = 'dispute')
    order by c.id
    for no key update
  ),
  paused as (
    update public.campaigns as c set status = 'paused', pause_reason = 'kill_switch'
    from locked
    where c.id = locked.id
    returning c.id
  )
  select coalesce(array_agg(paused.id), '{}') into stopped from paused;
  update public.matches as m set state = 'refused', verdict = 'campaign_not_active'
  where m.campaign_id = any(stopped) and m.state = 'waiting';
  -- Nothing has been taken for these yet; what is at the bank already goes its way.
  with waiting as (
    select b.id from public.bookings as b
    where b.user_id = p_user_id and b.status in ('retry_scheduled', 'requires_action') and b.closing_as is null
    order by b.id
    for no key update
  )
  select coalesce(array_agg(waiting.id), '{}') into called_off from waiting;
  perform internal.call_off(b.id, 'kill_switch', 'You stopped all your campaigns. Nothing is charged.')
  from unnest(called_off) as b (id);
  if cardinality(stopped) > 0 then
    perform internal.notify_user(
      p_user_id, 'campaigns_stopped', p_user_id || ':' || internal.clock(), null, null,
      jsonb_build_object('count', cardinality(stopped))
    );
  end if;
  return jsonb_build_object('campaigns', to_jsonb(stopped), 'bookings', to_jsonb(called_off));
end
$$;
comment on function public.stop_all_campaigns(uuid) is
'The kill switch: no campaign of the user charges any more until resumed, and what only waits is called off.
Definer: see begin_cancel.';
