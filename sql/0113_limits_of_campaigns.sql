-- migrate:up
-- What functions/campaigns/schemas.py, functions/shared/json_objects.py and functions/shared/amounts.py ask of a campaign,
-- asked by the table too: a user may write it through Supabase's REST API without passing our functions.

alter table public.campaigns
-- Unicode's white space written out: \s alone knows it only in some locales
add constraint campaigns_title_trimmed check (
  title !~ '^[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
  and title !~ '[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$'
),
add constraint campaigns_criteria_small check (octet_length(criteria::text) <= 8192),
-- strict, or jsonpath would not count the levels of arrays
add constraint campaigns_criteria_shallow check (not jsonb_path_exists(criteria, 'strict $.**{9}')),
add constraint campaigns_max_price_chargeable check (max_price_minor <= 99999999),
add constraint campaigns_budget_chargeable check (budget_minor <= 99999999),
-- JSON has no infinity, and Python no year 10000
add constraint campaigns_expires_at_a_date check (expires_at between '0001-01-02' and '9999-12-30'),
add constraint campaigns_idempotency_key_visible check (idempotency_key ~ '^[!-~]+$');
comment on constraint campaigns_criteria_small on public.campaigns is
'8 KiB as jsonb writes it: criteria are compared with every offer that comes in.';
comment on constraint campaigns_criteria_shallow on public.campaigns is 'At most eight levels.';
comment on constraint campaigns_max_price_chargeable on public.campaigns is
'Eight digits, the most that a PaymentIntent''s amount takes in every currency (https://docs.stripe.com/api).';

-- The same of what a stolen token of the offers function could bring.
alter table public.offers
add constraint offers_attributes_small check (octet_length(attributes::text) <= 8192),
add constraint offers_attributes_shallow check (not jsonb_path_exists(attributes, 'strict $.**{9}')),
add constraint offers_amount_chargeable check (amount_minor <= 99999999),
add constraint offers_expires_at_a_date check (expires_at between '0001-01-02' and '9999-12-30');

create function internal.check_ending() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if new.expires_at <= internal.clock() then
    raise exception using errcode = '23514', message = 'a campaign ends in the future';
  end if;
  return new;
end
$$;
comment on function internal.check_ending() is
'Trigger: a user sets a campaign''s end in the future. Only when it is set, as time itself passes every end.';

create trigger a_ending_new before insert on public.campaigns
for each row when (current_user = 'authenticated') execute function internal.check_ending();
create trigger a_ending_changed before update of expires_at on public.campaigns
for each row when (current_user = 'authenticated') execute function internal.check_ending();
