-- migrate:up
-- What a user wants booked, and how much of the budget is reserved and spent.

create table public.campaigns (
  id                      uuid primary key default gen_random_uuid(),
  user_id                 uuid not null default auth.uid() references auth.users (id) on delete restrict,
  title                   text not null check (char_length(title) between 1 and 200),
  criteria                jsonb not null check (jsonb_typeof(criteria) = 'object'),
  currency                text not null references public.currencies (code) on delete restrict,
  max_price_minor         bigint not null check (max_price_minor > 0),
  budget_minor            bigint not null check (budget_minor > 0),
  max_bookings            integer not null check (max_bookings between 1 and 1000),
  expires_at              timestamptz not null,
  payment_method_id       uuid,
  use_backups             boolean not null default false,
  capture                 public.capture_mode not null default 'automatic',
  auto_book               boolean not null default true,
  when_hold_ends          public.hold_end not null default 'void',
  status                  public.campaign_status not null default 'active',
  pause_reason            public.pause_reason,
  reserved_minor          bigint not null default 0 check (reserved_minor >= 0),
  spent_minor             bigint not null default 0 check (spent_minor >= 0),
  refund_reversed_minor   bigint not null default 0 check (refund_reversed_minor >= 0),
  bookings_in_flight      integer not null default 0 check (bookings_in_flight >= 0),
  bookings_confirmed      integer not null default 0 check (bookings_confirmed >= 0),
  bookings_restored       integer not null default 0 check (bookings_restored >= 0),
  idempotency_key         text check (char_length(idempotency_key) between 1 and 255),
  idempotency_fingerprint text check (idempotency_fingerprint ~ '^[0-9a-f]{64}$'),
  created_at              timestamptz not null default now(),
  updated_at              timestamptz not null default now(),
  unique (id, user_id),
  unique (user_id, idempotency_key),
  foreign key (payment_method_id, user_id) references public.payment_methods (id, user_id) on delete restrict,
  constraint campaigns_within_budget check (reserved_minor + spent_minor <= budget_minor + refund_reversed_minor),
  constraint campaigns_within_max_bookings check (
    bookings_in_flight + bookings_confirmed <= max_bookings + bookings_restored
  ),
  constraint campaigns_price_within_budget check (max_price_minor <= budget_minor),
  check ((status = 'paused') = (pause_reason is not null))
);
alter table public.campaigns enable row level security;
comment on table public.campaigns is 'What may be booked for a user without asking again, and with how much money.';
comment on column public.campaigns.criteria is 'An offer fits when its attributes contain this object (jsonb @>).';
comment on column public.campaigns.payment_method_id is
'The card to charge; null: whichever is the default when an offer matches.';
comment on column public.campaigns.when_hold_ends is
'With manual capture: what happens to a hold that fulfilment has neither captured nor voided in time.';
comment on column public.campaigns.reserved_minor is
'Sum of the ledger: money promised to bookings in flight. Written by the ledger''s trigger alone.';
comment on column public.campaigns.spent_minor is
'Sum of the ledger: money taken and not given back. Written by the ledger''s trigger alone.';
comment on column public.campaigns.refund_reversed_minor is
'Refunds that failed at the bank after their budget may have been used again; lets the books be true all the same.';
comment on column public.campaigns.bookings_in_flight is
'Bookings that are charging, waiting or authorized. Written by the trigger on bookings alone.';
comment on column public.campaigns.bookings_restored is
'Bookings whose refund failed at the bank after their place may have been used again; as refund_reversed_minor.';
comment on column public.campaigns.idempotency_key is
'The Idempotency-Key with which the user created it; the same key gives the same campaign.';
comment on column public.campaigns.idempotency_fingerprint is
'Hash of the request that came with the key; another request under it is an error.';
create index campaigns_active_idx on public.campaigns (currency, expires_at) where status in ('active', 'paused');
create index campaigns_user_idx on public.campaigns (user_id, created_at desc, id desc);
create index campaigns_payment_method_idx on public.campaigns (payment_method_id, user_id);
create index campaigns_currency_idx on public.campaigns (currency);

create function internal.choose_card() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if new.payment_method_id is null and tg_op = 'INSERT' then
    select p.id into new.payment_method_id from public.payment_methods as p
    where p.user_id = new.user_id and p.is_default and p.status = 'usable';
  elsif new.payment_method_id is not null and (tg_op = 'INSERT' or new.payment_method_id is distinct from old.payment_method_id)
  then
    if exists (
      select from public.payment_methods as p
      where p.id = new.payment_method_id and p.user_id = new.user_id and p.status <> 'usable'
    ) then
      perform internal.problem(409, 'card_unusable');
    end if;
  end if;
  return new;
end
$$;
comment on function internal.choose_card() is
'Trigger: a new campaign without a card takes the user''s default; a card that cannot be charged is not linked.';

create trigger a_choose_card before insert or update of payment_method_id on public.campaigns
for each row execute function internal.choose_card();
create trigger a_transition before update on public.campaigns
for each row execute function internal.check_transition();
create trigger b_touch before update on public.campaigns
for each row execute function internal.touch_updated_at();
create trigger c_keep before delete on public.campaigns
for each row execute function internal.refuse_change();
