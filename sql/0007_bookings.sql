-- migrate:up
-- One booking is one PaymentIntent; its attempts are the cards tried on it, one at a time.

create table public.bookings (
  id                       uuid primary key default gen_random_uuid(),
  campaign_id              uuid not null,
  offer_id                 text not null references public.offers (id) on delete restrict,
  user_id                  uuid not null,
  status                   public.booking_status not null default 'charging',
  amount_minor             bigint not null check (amount_minor > 0),
  currency                 text not null references public.currencies (code) on delete restrict,
  capture                  public.capture_mode not null,
  stripe_payment_intent_id text unique check (stripe_payment_intent_id ~ '^pi_'),
  amount_captured_minor    bigint not null default 0 check (amount_captured_minor between 0 and amount_minor),
  amount_refunded_minor    bigint not null default 0 check (amount_refunded_minor between 0 and amount_minor),
  closing_as               public.booking_status check (closing_as in ('failed', 'cancelled')),
  failure_code             text,
  user_message             text,
  action_expires_at        timestamptz,
  retry_at                 timestamptz,
  capture_before           timestamptz,
  capture_amount_minor     bigint check (capture_amount_minor between 1 and amount_minor),
  stripe_release_id        text,
  late_hold                boolean not null default false,
  radar_metadata           jsonb not null default '{}',
  leased_until             timestamptz,
  confirmed_at             timestamptz,
  disputed_at              timestamptz,
  fraud_warned_at          timestamptz,
  under_review_since       timestamptz,
  created_at               timestamptz not null default now(),
  updated_at               timestamptz not null default now(),
  unique (campaign_id, offer_id),
  unique (id, user_id),
  foreign key (campaign_id, user_id) references public.campaigns (id, user_id) on delete restrict,
  check (status not in ('failed', 'cancelled') or closing_as = status),
  check ((status = 'requires_action') = (action_expires_at is not null)),
  check ((status = 'retry_scheduled') = (retry_at is not null))
);
alter table public.bookings enable row level security;
comment on table public.bookings is
'A campaign and an offer, once; owns one PaymentIntent. Rows say exactly what is to be done next, so that a crash
anywhere loses nothing: a started attempt is to be (re)played, closing_as is to be finished at Stripe first.';
comment on column public.bookings.closing_as is
'How the booking is to end once its PaymentIntent has been cancelled at Stripe; null: it is not ending.';
comment on column public.bookings.failure_code is 'Why it failed or was cancelled, for operators.';
comment on column public.bookings.user_message is 'The sentence for the cardholder, never revealing a fraud reason.';
comment on column public.bookings.capture_amount_minor is
'What fulfilment asked to capture; committed before Stripe is called, and never changed, as its key allows one amount.';
comment on column public.bookings.stripe_release_id is
'After a partial capture: the Refund by which Stripe books what it released of the hold. No money of the cardholder''s.';
comment on column public.bookings.late_hold is
'A hold turned up at Stripe after the booking had ended; it is to be cancelled.';
comment on column public.bookings.radar_metadata is
'What Radar rules may look at, as it was when the booking began (docs/radar-rules.md).';
comment on column public.bookings.leased_until is
'Until when one caller has the next Stripe call to itself; null: anybody may take it up.';
create index bookings_user_idx on public.bookings (user_id, created_at desc, id desc);
create index bookings_campaign_idx on public.bookings (campaign_id, user_id);
create index bookings_offer_idx on public.bookings (offer_id);
create index bookings_currency_idx on public.bookings (currency);
create index bookings_open_idx on public.bookings (updated_at)
where status in ('charging', 'requires_action', 'retry_scheduled', 'authorized');

create table public.attempts (
  id                   uuid primary key default gen_random_uuid(),
  booking_id           uuid not null,
  user_id              uuid not null,
  payment_method_id    uuid not null,
  ordinal              smallint not null check (ordinal between 1 and 100),
  status               public.attempt_status not null default 'started',
  stripe_charge_ids    text[] not null default '{}',
  category             text,
  decline_code         text,
  decline_source       text,
  is_fraud             boolean not null default false,
  user_message         text,
  outcome_type         text,
  outcome_reason       text,
  network_status       text,
  network_decline_code text,
  network_advice_code  text,
  advice_code          text,
  risk_level           text,
  risk_score           smallint,
  fee_minor            bigint,
  created_at           timestamptz not null default now(),
  updated_at           timestamptz not null default now(),
  settled_at           timestamptz,
  unique (booking_id, ordinal),
  foreign key (booking_id, user_id) references public.bookings (id, user_id) on delete restrict,
  foreign key (payment_method_id, user_id) references public.payment_methods (id, user_id) on delete restrict
);
alter table public.attempts enable row level security;
comment on table public.attempts is
'One try to charge a booking with one card; the id makes the idempotency key of its Stripe call.';
comment on column public.attempts.status is 'started means: Stripe may or may not have heard of it.';
comment on column public.attempts.stripe_charge_ids is
'The Charges that Stripe made for this try, an authentication''s included. A decline that names a Charge which some
attempt has already is old news.';
comment on column public.attempts.category is 'What a decline asks for next: a Category of functions/shared/declines.py.';
comment on column public.attempts.decline_code is
'Stripe''s code that decided the category (https://docs.stripe.com/declines/codes).';
comment on column public.attempts.decline_source is 'The field of Stripe''s error or Charge that decline_code was read from.';
comment on column public.attempts.outcome_type is
'Of the Charge''s outcome, as are the next two (https://docs.stripe.com/api/charges/object#charge_object-outcome).';
comment on column public.attempts.outcome_reason is 'Why Stripe or Radar decided so.';
comment on column public.attempts.network_status is 'What became of it in the card network.';
comment on column public.attempts.network_decline_code is 'The issuer''s own answer, two characters.';
comment on column public.attempts.network_advice_code is 'The network''s advice on trying again, as Stripe passes it on.';
comment on column public.attempts.advice_code is 'Stripe''s advice: try_again_later, do_not_try_again or confirm_card_data.';
comment on column public.attempts.risk_level is 'Radar''s word for risk_score.';
create unique index attempts_one_open_idx on public.attempts (booking_id)
where status in ('started', 'processing', 'requires_action', 'authorized');
create index attempts_booking_idx on public.attempts (booking_id, user_id);
create index attempts_payment_method_idx on public.attempts (payment_method_id, user_id, created_at);
create index attempts_user_idx on public.attempts (user_id, created_at);

create function internal.guard_booking() returns trigger
language plpgsql
set search_path = ''
as $$
declare
  offer public.offers;
begin
  if tg_op = 'INSERT' then
    select * into strict offer from public.offers as o where o.id = new.offer_id;
    if (new.amount_minor, new.currency) is distinct from (offer.amount_minor, offer.currency) then
      raise exception using errcode = '23514', message = 'a booking costs what its offer says';
    end if;
    return new;
  end if;
  if (new.campaign_id, new.offer_id, new.user_id, new.amount_minor, new.currency, new.capture)
    is distinct from (old.campaign_id, old.offer_id, old.user_id, old.amount_minor, old.currency, old.capture)
    or (old.stripe_payment_intent_id is not null
      and new.stripe_payment_intent_id is distinct from old.stripe_payment_intent_id)
  then
    raise exception using errcode = '23514', message = 'a booking keeps its price, its owner and its PaymentIntent';
  end if;
  return new;
end
$$;
comment on function internal.guard_booking() is
'Trigger: the price is the offer''s, and nothing that identifies a booking''s money changes afterwards.';

create function internal.guard_offer() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if (new.id, new.attributes, new.amount_minor, new.currency)
    is distinct from (old.id, old.attributes, old.amount_minor, old.currency)
    and exists (select from public.bookings as b where b.offer_id = old.id)
  then
    raise exception using errcode = '23514', message = 'an offer that has been booked keeps its price and attributes';
  end if;
  return new;
end
$$;
comment on function internal.guard_offer() is 'Trigger: a booked offer does not change under its bookings.';

create function internal.count_bookings() returns trigger
language plpgsql
set search_path = ''
as $$
declare
  in_flight constant public.booking_status[] := '{charging, requires_action, retry_scheduled, authorized}';
  change_in_flight integer := (new.status = any(in_flight))::integer;
  change_confirmed integer := (new.status = 'confirmed')::integer;
  restored integer := 0;
begin
  if tg_op = 'UPDATE' then
    restored := (old.status = 'refunded' and new.status = 'confirmed')::integer;
    change_in_flight := change_in_flight - (old.status = any(in_flight))::integer;
    change_confirmed := change_confirmed - (old.status = 'confirmed')::integer;
  end if;
  if change_in_flight <> 0 or change_confirmed <> 0 then
    update public.campaigns as c set
      bookings_in_flight = c.bookings_in_flight + change_in_flight,
      bookings_confirmed = c.bookings_confirmed + change_confirmed,
      bookings_restored = c.bookings_restored + restored
    where c.id = new.campaign_id;
  end if;
  return null;
end
$$;
comment on function internal.count_bookings() is 'Trigger: keeps the campaign''s counts of bookings.';

create trigger a_transition before update on public.bookings
for each row execute function internal.check_transition();
create trigger a_transition before update on public.attempts
for each row execute function internal.check_transition();
create trigger b_guard before insert or update on public.bookings
for each row execute function internal.guard_booking();
create trigger b_guard before update on public.offers
for each row execute function internal.guard_offer();
create trigger c_touch before update on public.bookings
for each row execute function internal.touch_updated_at();
create trigger c_touch before update on public.attempts
for each row execute function internal.touch_updated_at();
create trigger d_keep before delete on public.bookings
for each row execute function internal.refuse_change();
create trigger d_keep before delete on public.attempts
for each row execute function internal.refuse_change();
create trigger e_count after insert or update of status on public.bookings
for each row execute function internal.count_bookings();
