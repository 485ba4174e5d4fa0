-- migrate:up
-- One role per Lambda. Its token opens the SQL functions that this Lambda calls, and not one table: whoever steals it can
-- do what that function does, and read nothing (docs/decisions/0008-a-role-per-function.md).

do $$
declare
  wanted text;
begin
  foreach wanted in array array[
    'autobook_setup_intent', 'autobook_payment_methods', 'autobook_campaigns', 'autobook_offers',
    'autobook_charge_booking', 'autobook_bookings', 'autobook_webhook', 'autobook_reconcile', 'autobook_notify'
  ] loop
    begin
      execute format('create role %I nologin noinherit', wanted);
    exception
      -- Roles belong to the whole cluster, where another database may have made it, or be making it right now.
      when duplicate_object or unique_violation then null;
    end;
    execute format('grant %I to authenticator', wanted);
    execute format('grant usage on schema public to %I', wanted);
  end loop;
end
$$;

grant execute on function public.record_setup_intent(uuid, text, text, text, text, text) to autobook_setup_intent;
grant execute on function public.settle_setup_intent(jsonb) to autobook_setup_intent;

grant execute on function public.finish_detach(text) to autobook_payment_methods, autobook_reconcile;

grant execute on function public.stop_all_campaigns(uuid) to autobook_campaigns;

grant execute on function public.ingest_offers(jsonb) to autobook_offers;

grant execute on function public.begin_charge(uuid, text, uuid) to autobook_charge_booking;
grant execute on function public.settle_payment(jsonb, uuid, boolean)
to autobook_charge_booking, autobook_bookings, autobook_webhook, autobook_reconcile;
grant execute on function public.settle_refund(jsonb, boolean)
to autobook_charge_booking, autobook_bookings, autobook_webhook, autobook_reconcile;

grant execute on function public.begin_cancel(uuid, uuid) to autobook_bookings;
grant execute on function public.begin_capture(uuid, bigint) to autobook_bookings;
grant execute on function public.begin_void(uuid) to autobook_bookings;
grant execute on function public.begin_refund(uuid, bigint, text, text) to autobook_bookings;

grant execute on function public.receive_event(jsonb) to autobook_webhook, autobook_reconcile;

grant execute on function public.due_bookings(integer) to autobook_reconcile;
grant execute on function public.take_step(uuid) to autobook_reconcile;
grant execute on function public.waiting_matches(integer) to autobook_reconcile;
grant execute on function public.expire_campaigns(boolean) to autobook_reconcile;
grant execute on function public.warn_of_expiring_cards(boolean) to autobook_reconcile;
grant execute on function public.reapply_events(boolean, integer) to autobook_reconcile;
grant execute on function public.unknown_events(text[]) to autobook_reconcile;
grant execute on function public.events_seen_until(timestamptz) to autobook_reconcile;
grant execute on function public.detaching_cards() to autobook_reconcile;
grant execute on function public.unsettled_payments(jsonb) to autobook_reconcile;
grant execute on function public.invariant_breaches() to autobook_reconcile;
grant execute on function public.report_breaches(jsonb) to autobook_reconcile;
