-- migrate:up
-- `make audit-verify` prints the head of the audit log and compares it with an earlier one.

grant execute on function public.audit_settled_until() to service_role;
grant execute on function public.audit_head(bigint) to service_role;
