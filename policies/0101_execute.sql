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

-- The functions' key. Execute is all that it has: not one table can be read or written with it.
grant execute on function public.record_setup_intent(uuid, text, text, text, text, text) to service_role;
grant execute on function public.settle_setup_intent(jsonb) to service_role;
grant execute on function public.finish_detach(text) to service_role;
grant execute on function public.begin_charge(uuid, text, uuid) to service_role;
grant execute on function public.ingest_offers(jsonb) to service_role;
grant execute on function public.settle_payment(jsonb, uuid, boolean) to service_role;
grant execute on function public.settle_refund(jsonb, boolean) to service_role;
grant execute on function public.receive_event(jsonb) to service_role;
