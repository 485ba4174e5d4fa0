-- migrate:up
-- Every status is an enum with a table of the moves that it allows; one trigger function holds them.
-- functions/shared/states.py mirrors the enums and moves, and a test compares the two.

create type public.payment_method_status as enum ('usable', 'unusable', 'detaching', 'detached');
create type public.setup_intent_status as enum (
  'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing', 'succeeded', 'canceled'
);
create type public.campaign_status as enum ('active', 'paused', 'completed', 'cancelled', 'expired');
create type public.pause_reason as enum (
  'user', 'payment_failed', 'card_unusable', 'dispute', 'fraud_warning', 'kill_switch'
);
create type public.capture_mode as enum ('automatic', 'manual');
create type public.hold_end as enum ('void', 'capture');
create type public.booking_status as enum (
  'charging', 'requires_action', 'retry_scheduled', 'authorized', 'confirmed', 'refunded', 'failed', 'cancelled'
);
create type public.attempt_status as enum (
  'started', 'processing', 'requires_action', 'authorized', 'succeeded', 'declined', 'rejected', 'voided'
);
create type public.match_verdict as enum (
  'matched', 'campaign_not_active', 'offer_expired', 'criteria_mismatch', 'currency_mismatch', 'over_max_price',
  'amount_below_minimum', 'over_budget', 'max_bookings_reached', 'velocity_limit', 'no_usable_card'
);
create type public.match_state as enum ('noted', 'waiting', 'charged', 'refused');
create type public.ledger_kind as enum ('reserve', 'release', 'spend', 'refund', 'refund_reversed');
create type public.refund_status as enum ('requested', 'pending', 'succeeded', 'failed', 'canceled');
create type public.event_status as enum ('applied', 'ignored', 'flagged', 'failed');
create type public.notification_status as enum ('pending', 'sent', 'dead');

comment on type public.match_verdict is
'What was decided about an offer for a campaign. All but matched are also the refusal codes of a charge.';
comment on type public.match_state is
'noted: told in the timeline only; waiting: an outbox row, a charge is owed; charged: it has a booking; refused: the
charge was refused when its time came.';

create table internal.transitions (
  machine     text not null,
  from_status text not null,
  to_status   text not null,
  primary key (machine, from_status, to_status)
);
alter table internal.transitions enable row level security;
comment on table internal.transitions is 'The allowed moves of every state machine; machine is the table''s name.';

insert into internal.transitions (machine, from_status, to_status) values
('payment_methods', 'usable', 'unusable'),
('payment_methods', 'unusable', 'usable'),
('payment_methods', 'usable', 'detaching'),
('payment_methods', 'unusable', 'detaching'),
('payment_methods', 'usable', 'detached'),
('payment_methods', 'unusable', 'detached'),
('payment_methods', 'detaching', 'detached'),
('campaigns', 'active', 'paused'),
('campaigns', 'paused', 'active'),
('campaigns', 'active', 'completed'),
('campaigns', 'active', 'cancelled'),
('campaigns', 'active', 'expired'),
('campaigns', 'paused', 'completed'),
('campaigns', 'paused', 'cancelled'),
('campaigns', 'paused', 'expired'),
('bookings', 'charging', 'confirmed'),
('bookings', 'charging', 'authorized'),
('bookings', 'charging', 'requires_action'),
('bookings', 'charging', 'retry_scheduled'),
('bookings', 'charging', 'failed'),
('bookings', 'charging', 'cancelled'),
('bookings', 'authorized', 'confirmed'),
('bookings', 'authorized', 'cancelled'),
('bookings', 'authorized', 'failed'),
('bookings', 'requires_action', 'charging'),
('bookings', 'requires_action', 'authorized'),
('bookings', 'requires_action', 'confirmed'),
('bookings', 'requires_action', 'failed'),
('bookings', 'requires_action', 'cancelled'),
('bookings', 'retry_scheduled', 'charging'),
('bookings', 'retry_scheduled', 'failed'),
('bookings', 'retry_scheduled', 'cancelled'),
('bookings', 'confirmed', 'refunded'),
('bookings', 'refunded', 'confirmed'), -- the bank sent the refund back
('attempts', 'started', 'processing'),
('attempts', 'started', 'requires_action'),
('attempts', 'started', 'authorized'),
('attempts', 'started', 'succeeded'),
('attempts', 'started', 'declined'),
('attempts', 'started', 'rejected'),
('attempts', 'started', 'voided'),
('attempts', 'processing', 'requires_action'),
('attempts', 'processing', 'authorized'),
('attempts', 'processing', 'succeeded'),
('attempts', 'processing', 'declined'),
('attempts', 'processing', 'voided'),
('attempts', 'requires_action', 'processing'),
('attempts', 'requires_action', 'authorized'),
('attempts', 'requires_action', 'succeeded'),
('attempts', 'requires_action', 'declined'),
('attempts', 'requires_action', 'voided'),
('attempts', 'authorized', 'succeeded'),
('attempts', 'authorized', 'voided'),
('refunds', 'requested', 'pending'),
('refunds', 'requested', 'succeeded'),
('refunds', 'requested', 'failed'),
('refunds', 'requested', 'canceled'),
('refunds', 'pending', 'succeeded'),
('refunds', 'pending', 'failed'),
('refunds', 'pending', 'canceled'),
('refunds', 'succeeded', 'failed'),
('notifications', 'pending', 'sent'),
('notifications', 'pending', 'dead'),
('notifications', 'dead', 'pending');

create function internal.check_transition() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  -- In two steps: a user's edit that leaves the status alone must not need rights on internal.transitions.
  if new.status is distinct from old.status then
    if not exists (
      select from internal.transitions as t
      where t.machine = tg_table_name and t.from_status = old.status::text and t.to_status = new.status::text
    ) then
      raise exception using
        errcode = '23514',
        message = format('%s may not move from %s to %s', tg_table_name, old.status, new.status);
    end if;
  end if;
  return new;
end
$$;
comment on function internal.check_transition() is
'Trigger: refuses a status move that internal.transitions does not list, for every role.';
