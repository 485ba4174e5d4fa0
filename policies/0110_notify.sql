-- migrate:up
-- Sending notifications is the functions' own business: no user claims or settles one.

grant execute on function public.claim_notifications(integer, integer) to autobook_notify, service_role;
grant execute on function public.settle_notification(uuid, integer, text, text) to autobook_notify, service_role;
