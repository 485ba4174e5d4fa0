-- migrate:up
-- Reconcile tells the numbers to CloudWatch; an operator looks at them, and at their course, with the project's secret key.

grant execute on function public.operational_numbers(integer) to autobook_reconcile, service_role;
grant execute on function public.operational_series(integer, integer) to service_role;
-- Breaches name ids, no people; looking for them changes nothing.
grant execute on function public.invariant_breaches() to service_role;
