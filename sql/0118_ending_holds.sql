-- migrate:up
-- A hold that fulfilment has forgotten. The cardholder has nothing to do and is told how it ended; who must know before is
-- whoever runs fulfilment, because a void loses the booking.

alter table internal.settings
add column hold_warning_seconds integer not null default 86400 check (hold_warning_seconds >= 0);
comment on column internal.settings.hold_warning_seconds is
'How long before a hold is captured or voided by itself (hold_margin_seconds before its end) its being left alone becomes an
incident. A day leaves time on any working day.';

create function public.warn_of_ending_holds(p_apply boolean) returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
  ending record;
  how_many integer := 0;
begin
  if p_apply then
    update public.incidents as i set resolved_at = internal.clock()
    from public.bookings as b
    where
      i.kind = 'hold_ending' and i.resolved_at is null and i.booking_id = b.id
      and (b.status <> 'authorized' or b.capture_amount_minor is not null or b.closing_as is not null);
  end if;
  for ending in
    select b.id, b.capture_before, c.when_hold_ends
    from public.bookings as b
    inner join public.campaigns as c on b.campaign_id = c.id
    cross join internal.settings as s
    where
      b.status = 'authorized'
      and b.capture_amount_minor is null
      and b.closing_as is null
      and b.capture_before - make_interval(secs => s.hold_margin_seconds + s.hold_warning_seconds) <= internal.clock()
      and not exists (select from public.incidents as i where i.dedupe_key = 'hold_ending:' || b.id)
    order by b.id
  loop
    if p_apply then
      perform internal.report_incident(
        'hold_ending', ending.id::text, ending.id,
        format(
          'Fulfilment has neither captured nor voided; the hold ends %s UTC, before which it is %s by itself.',
          to_char(ending.capture_before at time zone 'UTC', 'YYYY-MM-DD HH24:MI'),
          case ending.when_hold_ends when 'capture' then 'captured' else 'voided' end
        )
      );
    end if;
    how_many := how_many + 1;
  end loop;
  return how_many;
end
$$;
comment on function public.warn_of_ending_holds(boolean) is
'Reports each hold that is about to end and that fulfilment has left alone, once, and resolves what has been seen to since.
Definer: see due_bookings.';

create or replace function internal.notification_is_overtaken(p_notification public.notifications) returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from public.bookings as b
    where
      b.id = p_notification.booking_id
      and case p_notification.kind
        when 'authentication_required' then
          b.status <> 'requires_action' or b.closing_as is not null or b.action_expires_at <= internal.clock()
        when 'booking_retrying' then b.status <> 'retry_scheduled' or b.closing_as is not null
        else false
      end
  )
$$;
