-- migrate:up
-- Nothing that has seen money is deleted, all at once neither. As with the row-wise triggers this holds for the owner; a
-- superuser who sets session_replication_role to replica can, and the audit log's chain shows it.

create trigger d_keep before truncate on public.customers
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.payment_methods
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.setup_intents
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.campaigns
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.offers
for each statement execute function internal.refuse_change();
create trigger e_keep before truncate on public.bookings
for each statement execute function internal.refuse_change();
create trigger e_keep before truncate on public.attempts
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.refunds
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.disputes
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.stripe_events
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.notifications
for each statement execute function internal.refuse_change();
create trigger d_keep before truncate on public.incidents
for each statement execute function internal.refuse_change();
