-- migrate:up
-- What Stripe told us, what we owe people to know, and what somebody has to look at.

create table public.stripe_events (
  id                text primary key check (id ~ '^evt_'),
  type              text not null,
  api_version       text,
  livemode          boolean not null,
  object_id         text,
  stripe_created_at timestamptz not null,
  status            public.event_status not null,
  result            text not null,
  facts             jsonb not null default '{}'::jsonb,
  deliveries        integer not null default 1 check (deliveries > 0),
  tries             integer not null default 1 check (tries > 0),
  received_at       timestamptz not null default now(),
  updated_at        timestamptz not null default now()
);
alter table public.stripe_events enable row level security;
comment on table public.stripe_events is
'Every verified webhook once, by Stripe''s id. Stored in the transaction that applies it: applied means handled.';
comment on column public.stripe_events.type is 'Stripe''s type of event (https://docs.stripe.com/api/events/types).';
comment on column public.stripe_events.result is 'What it did, or why it did nothing, in one word or SQLSTATE and message.';
comment on column public.stripe_events.facts is
'What the functions read out of the event and hand to SQL, enough to apply it again; no payload, no personal data.';
create index stripe_events_open_idx on public.stripe_events (received_at) where status = 'failed';
create index stripe_events_object_idx on public.stripe_events (object_id);
create index stripe_events_early_idx on public.stripe_events ((facts #>> '{facts,payment_intent_id}'))
where result in ('not_ours', 'charge_not_known_yet');

create table public.notifications (
  id              uuid primary key default gen_random_uuid(),
  user_id         uuid not null references auth.users (id) on delete restrict,
  kind            text not null check (kind ~ '^[a-z_]+$'),
  dedupe_key      text not null unique,
  campaign_id     uuid references public.campaigns (id) on delete restrict,
  booking_id      uuid references public.bookings (id) on delete restrict,
  data            jsonb not null default '{}'::jsonb,
  status          public.notification_status not null default 'pending',
  tries           integer not null default 0 check (tries >= 0),
  next_attempt_at timestamptz not null default now(),
  sent_at         timestamptz,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now()
);
alter table public.notifications enable row level security;
comment on table public.notifications is
'Messages owed to users, written in the transaction of their cause; the dedupe key makes each end told once.';
create index notifications_user_idx on public.notifications (user_id, created_at desc);
create index notifications_campaign_idx on public.notifications (campaign_id);
create index notifications_booking_idx on public.notifications (booking_id);
create index notifications_due_idx on public.notifications (next_attempt_at) where status = 'pending';

create table public.incidents (
  id          uuid primary key default gen_random_uuid(),
  kind        text not null check (kind ~ '^[a-z_]+$'),
  dedupe_key  text not null unique,
  booking_id  uuid references public.bookings (id) on delete restrict,
  detail      text not null,
  created_at  timestamptz not null default now(),
  resolved_at timestamptz
);
alter table public.incidents enable row level security;
comment on table public.incidents is
'What an engineer must look at: a late success on a dead booking, a second PaymentIntent, a request Stripe refused.';
create index incidents_booking_idx on public.incidents (booking_id);

create trigger a_transition before update on public.notifications
for each row execute function internal.check_transition();
create trigger b_touch before update on public.notifications
for each row execute function internal.touch_updated_at();
create trigger b_touch before update on public.stripe_events
for each row execute function internal.touch_updated_at();
create trigger c_keep before delete on public.stripe_events
for each row execute function internal.refuse_change();
create trigger c_keep before delete on public.notifications
for each row execute function internal.refuse_change();
create trigger c_keep before delete on public.incidents
for each row execute function internal.refuse_change();
