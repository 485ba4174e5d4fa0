-- migrate:up
-- What the trusted feed offers, and what was decided about each offer for each campaign that it fits.

create table public.offers (
  id           text primary key check (id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'),
  attributes   jsonb not null check (jsonb_typeof(attributes) = 'object'),
  amount_minor bigint not null check (amount_minor > 0),
  currency     text not null references public.currencies (code) on delete restrict,
  expires_at   timestamptz not null,
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now()
);
alter table public.offers enable row level security;
comment on table public.offers is
'Offers as the feed signed them. A charge takes its price from here, never from its caller.';
comment on column public.offers.id is 'The feed''s own id; needs no quoting in a path.';
create index offers_currency_idx on public.offers (currency);

create table public.matches (
  campaign_id   uuid not null references public.campaigns (id) on delete restrict,
  offer_id      text not null references public.offers (id) on delete restrict,
  user_id       uuid not null,
  verdict       public.match_verdict not null,
  state         public.match_state not null,
  considered_at timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  primary key (campaign_id, offer_id),
  foreign key (campaign_id, user_id) references public.campaigns (id, user_id) on delete restrict
);
alter table public.matches enable row level security;
comment on table public.matches is
'Every campaign and offer whose criteria fit, with the verdict: the timeline is read from here. A waiting row is an
outbox message that reconcile sends again until it has been charged or refused.';
create index matches_offer_idx on public.matches (offer_id);
create index matches_user_idx on public.matches (campaign_id, user_id);
create index matches_timeline_idx on public.matches (campaign_id, considered_at desc);
create index matches_waiting_idx on public.matches (considered_at) where state = 'waiting';

create trigger b_touch before update on public.offers
for each row execute function internal.touch_updated_at();
create trigger b_touch before update on public.matches
for each row execute function internal.touch_updated_at();
create trigger c_keep before delete on public.offers
for each row execute function internal.refuse_change();
