-- migrate:up
-- The currencies that Stripe charges, how its API writes their amounts, and how little or much it charges.
-- Reference data: a later file adds or corrects rows, nothing in the application writes here.

create table public.currencies (
  code                 text primary key check (code ~ '^[a-z]{3}$'),
  exponent             smallint not null check (exponent in (0, 2, 3)),
  minimum_charge_minor bigint not null check (minimum_charge_minor > 0),
  minimum_is_published boolean not null,
  maximum_charge_minor bigint not null,
  amount_step_minor    smallint not null check (amount_step_minor in (1, 10, 100)),
  check (maximum_charge_minor >= minimum_charge_minor),
  check (minimum_charge_minor % amount_step_minor = 0)
);
alter table public.currencies enable row level security;
comment on table public.currencies is
'One row per presentment currency of Stripe (docs.stripe.com/currencies#presentment-currencies). The list is the union
over the countries of Stripe accounts: bhd, jod, kwd, omr and tnd are offered to accounts in the Emirates only. bgn and
hrk are not in it: both countries pay in euro.';
comment on column public.currencies.code is 'ISO 4217, lower case as in Stripe''s API.';
comment on column public.currencies.exponent is
'Decimal digits of the minor unit in Stripe''s API, not in ISO 4217: isk and ugx have none there and two here
(docs.stripe.com/currencies#special-cases). huf and twd are whole only in payouts, so they are plain two-digit here.';
comment on column public.currencies.minimum_charge_minor is
'The least amount that a charge may have, in minor units (docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
Stripe holds a charge to it when the account settles in the same currency. A charge that is converted must reach the
settlement currency''s minimum after conversion, which depends on the account and the day: above this floor Stripe may
still answer amount_too_small.';
comment on column public.currencies.minimum_is_published is
'True: the minimum is in Stripe''s table. False: Stripe publishes none and asks for the equivalent of the settlement
currency''s; the value is about one US dollar at the rates of 2025, rounded up, which is twice the usual minimum of 0.50
and so leaves room for a rate that halves.';
comment on column public.currencies.maximum_charge_minor is
'The greatest amount, in minor units: eight digits as the PaymentIntent''s reference says (docs.stripe.com/api), with the
longer limits that docs.stripe.com/currencies gives for idr, cop and inr. Card networks may allow less.';
comment on column public.currencies.amount_step_minor is
'Amounts are multiples of this: 100 for isk and ugx, of which fractions can''t be charged; 10 for three-digit currencies,
whose last digit must be 0 (docs.stripe.com/currencies as archived in December 2022; the page of 2026 is silent, and a
multiple of ten satisfies both).';

insert into public.currencies (
  code, exponent, minimum_charge_minor, minimum_is_published, maximum_charge_minor, amount_step_minor
) values
('aed', 2, 200, true, 99999999, 1),
('afn', 2, 8000, false, 99999999, 1),
('all', 2, 9000, false, 99999999, 1),
('amd', 2, 40000, false, 99999999, 1),
('ang', 2, 180, false, 99999999, 1),
('aoa', 2, 100000, false, 99999999, 1),
('ars', 2, 50, true, 99999999, 1),
('aud', 2, 50, true, 99999999, 1),
('awg', 2, 180, false, 99999999, 1),
('azn', 2, 170, false, 99999999, 1),
('bam', 2, 180, false, 99999999, 1),
('bbd', 2, 200, false, 99999999, 1),
('bdt', 2, 13000, false, 99999999, 1),
('bhd', 3, 400, false, 99999999, 10),
('bif', 0, 3000, false, 99999999, 1),
('bmd', 2, 100, false, 99999999, 1),
('bnd', 2, 140, false, 99999999, 1),
('bob', 2, 1000, false, 99999999, 1),
('brl', 2, 50, true, 99999999, 1),
('bsd', 2, 100, false, 99999999, 1),
('bwp', 2, 1400, false, 99999999, 1),
('byn', 2, 350, false, 99999999, 1),
('bzd', 2, 200, false, 99999999, 1),
('cad', 2, 50, true, 99999999, 1),
('cdf', 2, 300000, false, 99999999, 1),
('chf', 2, 50, true, 99999999, 1),
('clp', 0, 1000, false, 99999999, 1),
('cny', 2, 750, false, 99999999, 1),
('cop', 2, 50, true, 9999999999, 1),
('crc', 2, 60000, false, 99999999, 1),
('cve', 2, 11000, false, 99999999, 1),
('czk', 2, 1500, true, 99999999, 1),
('djf', 0, 180, false, 99999999, 1),
('dkk', 2, 250, true, 99999999, 1),
('dop', 2, 6500, false, 99999999, 1),
('dzd', 2, 14000, false, 99999999, 1),
('egp', 2, 6000, false, 99999999, 1),
('etb', 2, 16000, false, 99999999, 1),
('eur', 2, 50, true, 99999999, 1),
('fjd', 2, 240, false, 99999999, 1),
('fkp', 2, 80, false, 99999999, 1),
('gbp', 2, 30, true, 99999999, 1),
('gel', 2, 300, false, 99999999, 1),
('gip', 2, 80, false, 99999999, 1),
('gmd', 2, 7500, false, 99999999, 1),
('gnf', 0, 9000, false, 99999999, 1),
('gtq', 2, 800, false, 99999999, 1),
('gyd', 2, 22000, false, 99999999, 1),
('hkd', 2, 400, true, 99999999, 1),
('hnl', 2, 2700, false, 99999999, 1),
('htg', 2, 14000, false, 99999999, 1),
('huf', 2, 17500, true, 99999999, 1),
('idr', 2, 50, true, 999999999999, 1),
('ils', 2, 50, true, 99999999, 1),
('inr', 2, 50, true, 999999999, 1),
('isk', 2, 14000, false, 99999999, 100),
('jmd', 2, 17000, false, 99999999, 1),
('jod', 3, 750, false, 99999999, 10),
('jpy', 0, 50, true, 99999999, 1),
('kes', 2, 14000, false, 99999999, 1),
('kgs', 2, 9000, false, 99999999, 1),
('khr', 2, 420000, false, 99999999, 1),
('kmf', 0, 450, false, 99999999, 1),
('krw', 0, 50, true, 99999999, 1),
('kwd', 3, 330, false, 99999999, 10),
('kyd', 2, 90, false, 99999999, 1),
('kzt', 2, 55000, false, 99999999, 1),
('lak', 2, 2400000, false, 99999999, 1),
('lbp', 2, 9000000, false, 99999999, 1),
('lkr', 2, 32000, false, 99999999, 1),
('lrd', 2, 20000, false, 99999999, 1),
('lsl', 2, 2000, false, 99999999, 1),
('mad', 2, 1000, false, 99999999, 1),
('mdl', 2, 1800, false, 99999999, 1),
('mga', 0, 5000, false, 99999999, 1),
('mkd', 2, 6000, false, 99999999, 1),
('mmk', 2, 450000, false, 99999999, 1),
('mnt', 2, 380000, false, 99999999, 1),
('mop', 2, 850, false, 99999999, 1),
('mur', 2, 5000, false, 99999999, 1),
('mvr', 2, 1600, false, 99999999, 1),
('mwk', 2, 180000, false, 99999999, 1),
('mxn', 2, 1000, true, 99999999, 1),
('myr', 2, 200, true, 99999999, 1),
('mzn', 2, 6500, false, 99999999, 1),
('nad', 2, 2000, false, 99999999, 1),
('ngn', 2, 160000, false, 99999999, 1),
('nio', 2, 3800, false, 99999999, 1),
('nok', 2, 300, true, 99999999, 1),
('npr', 2, 15000, false, 99999999, 1),
('nzd', 2, 50, true, 99999999, 1),
('omr', 3, 400, false, 99999999, 10),
('pab', 2, 100, false, 99999999, 1),
('pen', 2, 400, false, 99999999, 1),
('pgk', 2, 450, false, 99999999, 1),
('php', 2, 50, true, 99999999, 1),
('pkr', 2, 30000, false, 99999999, 1),
('pln', 2, 200, true, 99999999, 1),
('pyg', 0, 8000, false, 99999999, 1),
('qar', 2, 380, false, 99999999, 1),
('ron', 2, 200, true, 99999999, 1),
('rsd', 2, 11000, false, 99999999, 1),
('rub', 2, 50, true, 99999999, 1),
('rwf', 0, 1500, false, 99999999, 1),
('sar', 2, 400, false, 99999999, 1),
('sbd', 2, 900, false, 99999999, 1),
('scr', 2, 1600, false, 99999999, 1),
('sek', 2, 300, true, 99999999, 1),
('sgd', 2, 50, true, 99999999, 1),
('shp', 2, 80, false, 99999999, 1),
('sle', 2, 2500, false, 99999999, 1),
('sos', 2, 60000, false, 99999999, 1),
('srd', 2, 4500, false, 99999999, 1),
('std', 2, 2300000, false, 99999999, 1),
('szl', 2, 2000, false, 99999999, 1),
('thb', 2, 1000, true, 99999999, 1),
('tjs', 2, 1100, false, 99999999, 1),
('tnd', 3, 3300, false, 99999999, 10),
('top', 2, 250, false, 99999999, 1),
('try', 2, 5000, false, 99999999, 1),
('ttd', 2, 700, false, 99999999, 1),
('twd', 2, 3300, false, 99999999, 1),
('tzs', 2, 280000, false, 99999999, 1),
('uah', 2, 4500, false, 99999999, 1),
('ugx', 2, 400000, false, 99999999, 100),
('usd', 2, 50, true, 99999999, 1),
('uyu', 2, 4300, false, 99999999, 1),
('uzs', 2, 1300000, false, 99999999, 1),
('vnd', 0, 27000, false, 99999999, 1),
('vuv', 0, 130, false, 99999999, 1),
('wst', 2, 300, false, 99999999, 1),
('xaf', 0, 600, false, 99999999, 1),
('xcd', 2, 280, false, 99999999, 1),
('xcg', 2, 180, false, 99999999, 1),
('xof', 0, 600, false, 99999999, 1),
('xpf', 0, 110, false, 99999999, 1),
('yer', 2, 55000, false, 99999999, 1),
('zar', 2, 50, true, 99999999, 1),
('zmw', 2, 2800, false, 99999999, 1);
