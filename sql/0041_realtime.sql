-- migrate:up
-- Supabase Realtime carries new notifications to the page that is open, under the same locks as a select: a row goes to
-- whom notifications_read_own lets read it, and columns that `authenticated` may not select are left out of it
-- (https://supabase.com/docs/guides/realtime/postgres-changes; realtime.apply_rls asks has_column_privilege).
--
-- Notifications alone. Every turn of a booking or campaign that a user should see writes one, once; the page then reads
-- booking or campaign through the API, in the shape that it knows. Their own rows change with every lease, count and
-- webhook, and Realtime checks each change against each subscriber, one after the other.
--
-- The replica identity stays the default, the primary key. `full` would add the old row to each change, and make
-- PostgreSQL write it to its log, for a table of which only inserts are listened to. Deletes, which Realtime tells
-- everybody because nobody can be asked who may see them, don't happen here.

do $$
begin
  -- Hosted projects have it, owned by the role that migrates; one may have removed it.
  if not exists (select from pg_catalog.pg_publication as p where p.pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  -- Somebody may have switched it on in the dashboard, or publish all tables.
  if not exists (
    select from pg_catalog.pg_publication_tables as t
    where t.pubname = 'supabase_realtime' and t.schemaname = 'public' and t.tablename = 'notifications'
  ) then
    alter publication supabase_realtime add table public.notifications;
  end if;
end
$$;
