-- migrate:up

grant execute on function public.warn_of_ending_holds(boolean) to autobook_reconcile;
