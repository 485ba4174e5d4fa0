-- migrate:up
-- A user's side at Stripe: the Customer, the cards saved by SetupIntents, and the consent behind each.

create table public.customers (
  user_id            uuid primary key references auth.users (id) on delete restrict,
  stripe_customer_id text not null unique check (stripe_customer_id ~ '^cus_'),
  email              text,
  generation         integer not null default 1 check (generation > 0),
  created_at         timestamptz not null default now(),
  updated_at         timestamptz not null default now(),
  deleted_at         timestamptz
);
alter table public.customers enable row level security;
comment on table public.customers is
'One Stripe Customer per user, created with an idempotency key made of the user id. Never matched by e-mail.';
comment on column public.customers.email is 'Where notifications go; cleared when a person is erased.';
comment on column public.customers.generation is
'Counts the Stripe Customers this user has had; part of the idempotency key of the next.';
comment on column public.customers.deleted_at is 'Stripe says the Customer is gone; null while it lives.';

create table public.payment_methods (
  id                       uuid primary key default gen_random_uuid(),
  user_id                  uuid not null references public.customers (user_id) on delete restrict,
  stripe_payment_method_id text not null unique check (stripe_payment_method_id ~ '^(pm|card|src)_'),
  status                   public.payment_method_status not null default 'usable',
  unusable_reason          text,
  brand                    text not null,
  last4                    text not null check (last4 ~ '^[0-9]{4}$'),
  exp_month                smallint not null check (exp_month between 1 and 12),
  exp_year                 smallint not null check (exp_year between 2000 and 2200),
  funding                  text not null,
  country                  text,
  wallet                   text,
  is_default               boolean not null default false,
  backup_position          integer check (backup_position > 0),
  facts_at                 timestamptz not null default '-infinity',
  created_at               timestamptz not null default now(),
  updated_at               timestamptz not null default now(),
  unique (id, user_id),
  check (status <> 'usable' or unusable_reason is null),
  check (status not in ('detaching', 'detached') or not is_default)
);
alter table public.payment_methods enable row level security;
comment on table public.payment_methods is
'Cards saved by a succeeded SetupIntent. Stripe holds the card; this is all that we keep of it.';
comment on column public.payment_methods.unusable_reason is
'The decline or event code that made the card unusable; kept from the user because it can reveal a theft.';
comment on column public.payment_methods.backup_position is
'Order of the backup chain among the cards that are not the default; null: after all that have one.';
comment on column public.payment_methods.facts_at is
'When Stripe made the event that last described the card: an older one changes nothing.';
create unique index payment_methods_one_default_idx on public.payment_methods (user_id) where is_default;
create index payment_methods_user_idx on public.payment_methods (user_id, backup_position, created_at);

create table public.setup_intents (
  id                text primary key check (id ~ '^seti_'),
  user_id           uuid not null references public.customers (user_id) on delete restrict,
  status            public.setup_intent_status not null,
  terms_version     text not null,
  consented_at      timestamptz not null default now(),
  payment_method_id uuid,
  error_code        text,
  user_message      text,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now(),
  foreign key (payment_method_id, user_id) references public.payment_methods (id, user_id) on delete restrict
);
alter table public.setup_intents enable row level security;
comment on table public.setup_intents is
'Each set-up with the consent given: which terms, when. This is the evidence for charging off-session.';
comment on column public.setup_intents.error_code is 'Stripe''s code for why the last try to set up failed; null while none did.';
create index setup_intents_user_idx on public.setup_intents (user_id);
create index setup_intents_payment_method_idx on public.setup_intents (payment_method_id, user_id);

create trigger a_transition before update on public.payment_methods
for each row execute function internal.check_transition();
create trigger b_touch before update on public.customers
for each row execute function internal.touch_updated_at();
create trigger b_touch before update on public.payment_methods
for each row execute function internal.touch_updated_at();
create trigger b_touch before update on public.setup_intents
for each row execute function internal.touch_updated_at();
create trigger c_keep before delete on public.customers
for each row execute function internal.refuse_change();
create trigger c_keep before delete on public.payment_methods
for each row execute function internal.refuse_change();
create trigger c_keep before delete on public.setup_intents
for each row execute function internal.refuse_change();
