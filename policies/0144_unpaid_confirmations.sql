-- migrate:up

grant execute on function public.unpaid_confirmations(timestamptz, timestamptz, text[], integer) to autobook_reconcile;
