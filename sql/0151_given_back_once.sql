-- migrate:up
-- Since claims have numbers of their own, a message that was given back kept the number of its last claim until the next
-- one. Whoever repeated its giving back, as its first answer was lost, took a second try away: one that had failed was
-- forgotten, and below none the database refused, which ended the run of notify.

comment on column public.notifications.claims is
'The number of the last claim, which is its lease. It grows with each claim, and when one is given back.';

create or replace function public.settle_notification(
  p_id uuid, p_try integer, p_outcome text, p_error text default null
) returns text
language plpgsql security definer
set search_path = ''
as $$
declare
  limits internal.settings;
  notification public.notifications;
begin
  select * into strict limits from internal.settings;
  select * into notification from public.notifications as n where n.id = p_id for update;
  if not found then
    return 'unknown';
  end if;
  if notification.status <> 'pending' then
    return 'already_' || notification.status;
  end if;
  if p_outcome = 'sent' then
    -- True whoever says it, and however late: it must not be sent once more.
    update public.notifications as n set status = 'sent', sent_at = internal.clock(), last_error = null where n.id = p_id;
    return 'sent';
  end if;
  if notification.claims <> p_try then
    return 'lease_lost';
  end if;
  case p_outcome
    when 'retry' then
      if notification.tries >= limits.notification_tries then
        perform internal.bury_notification(notification, p_error);
        return 'dead';
      end if;
      -- Doubling, with up to a quarter of jitter so that an outage is not followed by everything at once.
      update public.notifications as n set
        last_error = p_error,
        next_attempt_at = internal.clock() + make_interval(
          secs => limits.notification_backoff_seconds * 2 ^ (n.tries - 1) * (1 + random() / 4)
        )
      where n.id = p_id;
      return 'retry';
    when 'dead' then
      perform internal.bury_notification(notification, p_error);
      return 'dead';
    when 'released' then
      -- The claim is over: saying it again says it of no claim that there is.
      update public.notifications as n set
        tries = n.tries - 1,
        claims = n.claims + 1,
        last_error = p_error,
        next_attempt_at = internal.clock() + make_interval(
          secs => case when p_error is null then 0 else limits.notification_backoff_seconds end
        )
      where n.id = p_id;
      if p_error is not null then
        perform internal.report_incident(
          'mail_provider', p_error || ':' || internal.clock()::date, null, format('No mail goes out: %s', p_error)
        );
      end if;
      return 'released';
    else
      perform internal.problem(422, 'unknown_action');
  end case;
end
$$;
comment on function public.settle_notification(uuid, integer, text, text) is
'How the claim p_try of a notification ended. sent; retry: later, up to a limit; dead: refused for good; released: it was
not tried, or the provider takes nothing from us now (p_error), so the try does not count. Saying it twice is saying it
once. Definer: its caller holds no rights on the tables.';
