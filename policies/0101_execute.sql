-- migrate:up
-- Who may execute what. Everything else that PostgreSQL would let public execute was revoked in sql/0001.

-- Users, on their own rows: each acts for auth.uid() or runs under row-level security.
grant execute on function public.arrange_payment_method(uuid, boolean, integer) to authenticated;
grant execute on function public.begin_detach(uuid) to authenticated;
grant execute on function public.move_campaign(uuid, text) to authenticated;
grant execute on function public.campaign_timeline(uuid, integer, timestamptz, text) to authenticated;
grant execute on function public.campaign_preflight(uuid) to authenticated;
-- The triggers of their own edits call these.
grant execute on function internal.clock() to authenticated;
grant execute on function internal.problem(integer, text, text) to authenticated;

-- The operators' key, which no Lambda holds (docs/decisions/0008-a-role-per-function.md). Execute is all that it has: not
-- one table can be read or written with it.
grant execute on function public.record_setup_intent(uuid, text, text, text, text, text) to service_role;
grant execute on function public.settle_setup_intent(jsonb) to service_role;
grant execute on function public.finish_detach(text) to service_role;
grant execute on function public.begin_charge(uuid, text, uuid) to service_role;
grant execute on function public.ingest_offers(jsonb) to service_role;
grant execute on function public.settle_payment(jsonb, uuid, boolean) to service_role;
grant execute on function public.settle_refund(jsonb, boolean) to service_role;
grant execute on function public.begin_cancel(uuid, uuid) to service_role;
grant execute on function public.begin_capture(uuid, bigint) to service_role;
grant execute on function public.begin_void(uuid) to service_role;
grant execute on function public.begin_refund(uuid, bigint, text, text) to service_role;
grant execute on function public.stop_all_campaigns(uuid) to service_role;
grant execute on function public.due_bookings(integer) to service_role;
grant execute on function public.take_step(uuid) to service_role;
grant execute on function public.waiting_matches(integer) to service_role;
grant execute on function public.expire_campaigns(boolean) to service_role;
grant execute on function public.warn_of_expiring_cards(boolean) to service_role;
grant execute on function public.reapply_events(boolean, integer) to service_role;
grant execute on function public.unknown_events(text[]) to service_role;
grant execute on function public.events_seen_until(timestamptz) to service_role;
grant execute on function public.detaching_cards() to service_role;
grant execute on function public.unsettled_payments(jsonb) to service_role;
grant execute on function public.invariant_breaches() to service_role;
grant execute on function public.report_breaches(jsonb) to service_role;
grant execute on function public.audit_breaches() to service_role;
grant execute on function public.export_user(uuid) to service_role;
grant execute on function public.erase_user(uuid) to service_role;
grant execute on function public.receive_event(jsonb) to service_role;
