-- migrate:up
-- The campaign's money, entry by entry. Totals on the campaign are sums of these rows and nothing else.

create table public.refunds (
  id               uuid primary key default gen_random_uuid(),
  booking_id       uuid not null,
  user_id          uuid not null,
  status           public.refund_status not null default 'requested',
  amount_minor     bigint not null check (amount_minor > 0),
  currency         text not null references public.currencies (code) on delete restrict,
  reason           text not null,
  idempotency_key  text check (char_length(idempotency_key) between 1 and 255),
  stripe_refund_id text unique check (stripe_refund_id ~ '^(re|pyr)_'),
  failure_reason   text,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  unique (id, user_id),
  unique (booking_id, idempotency_key),
  foreign key (booking_id, user_id) references public.bookings (id, user_id) on delete restrict
);
alter table public.refunds enable row level security;
comment on table public.refunds is
'Money to give back or given back. The id makes the idempotency key of its Stripe call; a refund made in Stripe''s
dashboard is recorded here when its event arrives.';
comment on column public.refunds.idempotency_key is 'The caller''s key: the same key for a booking is the same refund.';
comment on column public.refunds.reason is 'The caller''s reason, or ours for a payment that nobody was to make.';
comment on column public.refunds.failure_reason is
'Why the bank could not take it (https://docs.stripe.com/api/refunds/object#refund_object-failure_reason).';
create index refunds_booking_idx on public.refunds (booking_id, user_id);
create index refunds_currency_idx on public.refunds (currency);
create index refunds_open_idx on public.refunds (created_at) where status in ('requested', 'pending');

create table public.ledger_entries (
  id           bigint generated always as identity primary key,
  campaign_id  uuid not null references public.campaigns (id) on delete restrict,
  booking_id   uuid not null references public.bookings (id) on delete restrict,
  refund_id    uuid references public.refunds (id) on delete restrict,
  kind         public.ledger_kind not null,
  amount_minor bigint not null check (amount_minor > 0),
  created_at   timestamptz not null default now(),
  check ((kind in ('refund', 'refund_reversed')) = (refund_id is not null))
);
alter table public.ledger_entries enable row level security;
comment on table public.ledger_entries is
'Append-only. reserve: budget promised to a booking; release: promise ended unspent; spend: promise turned into money
taken; refund: money given back, budget with it; refund_reversed: the bank could not give it back after all.';
create unique index ledger_entries_reserve_idx on public.ledger_entries (booking_id) where kind = 'reserve';
create unique index ledger_entries_spend_idx on public.ledger_entries (booking_id) where kind = 'spend';
create unique index ledger_entries_refund_idx on public.ledger_entries (refund_id, kind) where refund_id is not null;
create index ledger_entries_campaign_idx on public.ledger_entries (campaign_id);
create index ledger_entries_booking_idx on public.ledger_entries (booking_id);

create function internal.apply_ledger_entry() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  update public.campaigns as c set
    reserved_minor = c.reserved_minor + case
      when new.kind = 'reserve' then new.amount_minor
      when new.kind in ('release', 'spend') then -new.amount_minor
      else 0
    end,
    spent_minor = c.spent_minor + case
      when new.kind in ('spend', 'refund_reversed') then new.amount_minor
      when new.kind = 'refund' then -new.amount_minor
      else 0
    end,
    refund_reversed_minor = c.refund_reversed_minor + case
      when new.kind = 'refund_reversed' then new.amount_minor
      else 0
    end
  where c.id = new.campaign_id;
  return null;
end
$$;
comment on function internal.apply_ledger_entry() is 'Trigger: adds an entry to its campaign''s totals.';

create trigger a_transition before update on public.refunds
for each row execute function internal.check_transition();
create trigger b_touch before update on public.refunds
for each row execute function internal.touch_updated_at();
create trigger c_keep before delete on public.refunds
for each row execute function internal.refuse_change();
create trigger a_apply after insert on public.ledger_entries
for each row execute function internal.apply_ledger_entry();
create trigger b_keep before update or delete on public.ledger_entries
for each row execute function internal.refuse_change();
create trigger c_keep before truncate on public.ledger_entries
for each statement execute function internal.refuse_change();
