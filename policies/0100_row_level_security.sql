-- migrate:up
-- The keys to the doors that sql/ locked. Users read their own rows and edit what their campaigns want; all that
-- concerns money is written by functions that the Lambdas' roles and service_role may execute. anon gets nothing.

grant usage on schema internal to authenticated;

create policy customers_read_own on public.customers
for select to authenticated using (user_id = (select auth.uid()));
create policy payment_methods_read_own on public.payment_methods
for select to authenticated using (user_id = (select auth.uid()));
create policy setup_intents_read_own on public.setup_intents
for select to authenticated using (user_id = (select auth.uid()));
create policy campaigns_read_own on public.campaigns
for select to authenticated using (user_id = (select auth.uid()));
create policy campaigns_create_own on public.campaigns
for insert to authenticated with check (user_id = (select auth.uid()));
create policy campaigns_edit_own on public.campaigns
for update to authenticated
using (user_id = (select auth.uid()) and status in ('active', 'paused'))
with check (user_id = (select auth.uid()));
create policy offers_read_considered on public.offers
for select to authenticated using (
  exists (
    select from public.matches as m
    where m.offer_id = offers.id and m.user_id = (select auth.uid())
  )
);
create policy matches_read_own on public.matches
for select to authenticated using (user_id = (select auth.uid()));
create policy bookings_read_own on public.bookings
for select to authenticated using (user_id = (select auth.uid()));
create policy attempts_read_own on public.attempts
for select to authenticated using (user_id = (select auth.uid()));
create policy refunds_read_own on public.refunds
for select to authenticated using (user_id = (select auth.uid()));
create policy disputes_read_own on public.disputes
for select to authenticated using (user_id = (select auth.uid()));
create policy ledger_entries_read_own on public.ledger_entries
for select to authenticated using (
  exists (
    select from public.campaigns as c
    where c.id = ledger_entries.campaign_id and c.user_id = (select auth.uid())
  )
);
create policy notifications_read_own on public.notifications
for select to authenticated using (user_id = (select auth.uid()));
create policy currencies_read_all on public.currencies
for select to authenticated using (true);

-- Column by column: a decline's code can reveal that a card is stolen, so it is no column of the user's.
grant select (user_id, stripe_customer_id, email, generation, created_at, updated_at, deleted_at)
on public.customers to authenticated;
grant select (
  id, user_id, status, brand, last4, exp_month, exp_year, funding, country, wallet, is_default, backup_position,
  created_at, updated_at
) on public.payment_methods to authenticated;
grant select (id, user_id, status, terms_version, consented_at, payment_method_id, user_message, created_at, updated_at)
on public.setup_intents to authenticated;
grant select on public.campaigns to authenticated;
grant insert (
  title, criteria, currency, max_price_minor, budget_minor, max_bookings, expires_at, payment_method_id, use_backups,
  capture, auto_book, when_hold_ends, idempotency_key, idempotency_fingerprint
) on public.campaigns to authenticated;
grant update (
  title, criteria, max_price_minor, budget_minor, max_bookings, expires_at, payment_method_id, use_backups, capture,
  auto_book, when_hold_ends
) on public.campaigns to authenticated;
grant select on public.offers to authenticated;
grant select on public.matches to authenticated;
grant select (
  id, campaign_id, offer_id, user_id, status, amount_minor, currency, capture, stripe_payment_intent_id,
  amount_captured_minor,
  amount_refunded_minor,
  user_message,
  action_expires_at,
  retry_at,
  capture_before,
  confirmed_at,
  created_at,
  updated_at
) on public.bookings to authenticated;
grant select (id, booking_id, user_id, payment_method_id, ordinal, status, user_message, created_at, updated_at, settled_at)
on public.attempts to authenticated;
grant select (id, booking_id, user_id, status, amount_minor, currency, created_at, updated_at)
on public.refunds to authenticated;
grant select (id, booking_id, user_id, status, amount_minor, currency, opened_at, closed_at)
on public.disputes to authenticated;
grant select on public.ledger_entries to authenticated;
grant select (id, user_id, kind, campaign_id, booking_id, data, created_at) on public.notifications to authenticated;
grant select on public.currencies to authenticated;
grant select on public.booking_view to authenticated;
