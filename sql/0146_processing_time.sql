-- migrate:up
-- A clock that is set while an event is being processed made its processing time negative or more than an integer holds,
-- and the event was refused for it, over and over. A number that is only looked at must not stop what is paid.

create function internal.milliseconds(p_from timestamptz, p_to timestamptz) returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
  return least(greatest(round(extract(epoch from p_to - p_from) * 1000), 0), 2147483647);
end
$$;
comment on function internal.milliseconds(timestamptz, timestamptz) is
'From one time to another in whole milliseconds, within what an integer holds: a clock may have been set in between.';

create or replace function internal.time_event() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  -- The transaction's own clock, not internal.clock(): a simulation's hours are no processing.
  new.processing_ms := internal.milliseconds(transaction_timestamp(), clock_timestamp());
  return new;
end
$$;
