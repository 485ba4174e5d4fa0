-- migrate:up
-- The other half of invariant 3: a booking that we hold as confirmed has a payment that Stripe holds as succeeded. What
-- an event says is believed by its signature alone, so whoever has the webhook's secret could have a booking confirmed
-- that nobody paid for.

create index bookings_taken_idx on public.bookings (created_at) where status in ('confirmed', 'refunded');

create function public.unpaid_confirmations(
  p_since timestamptz, p_until timestamptz, p_paid text[], p_limit integer default 100
) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object('booking_id', b.id, 'payment_intent_id', b.stripe_payment_intent_id) order by b.created_at, b.id
    ),
    '[]'
  )
  from (
    select d.id, d.stripe_payment_intent_id, d.created_at
    from public.bookings as d
    where
      d.status in ('confirmed', 'refunded')
      and d.created_at >= p_since
      and d.created_at < p_until
      -- Without a PaymentIntent it is a breach that the database sees by itself.
      and d.stripe_payment_intent_id is not null
      and not exists (select from unnest(p_paid) as paid (id) where paid.id = d.stripe_payment_intent_id)
    order by d.created_at, d.id
    limit p_limit
  ) as b
$$;
comment on function public.unpaid_confirmations(timestamptz, timestamptz, text[], integer) is
'Bookings begun in a span of time that we hold as paid and whose PaymentIntent is none of those that Stripe does
(invariant 3). Definer: see due_bookings.';
