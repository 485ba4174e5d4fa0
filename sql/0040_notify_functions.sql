-- migrate:up
-- Sending what is owed: which notifications are due, each leased to one sender at a time, and how each try ended.

alter table internal.settings
add column notification_tries integer not null default 8 check (notification_tries between 1 and 20),
add column notification_backoff_seconds integer not null default 60 check (notification_backoff_seconds > 0);
comment on column internal.settings.notification_tries is
'Tries before a notification is dead. With a first wait of a minute, eight tries take two hours.';
comment on column internal.settings.notification_backoff_seconds is
'First wait after a try that failed; doubled with each try.';

alter table public.notifications
add column last_error text check (last_error ~ '^[A-Za-z0-9_.:-]{1,100}$');
comment on column public.notifications.status is
'pending: owed, and leased to a sender while next_attempt_at lies ahead; sent: the mail provider took it; dead: it will
not be sent, last_error says why. An operator may set a dead one to pending again (docs/notifications.md).';
comment on column public.notifications.tries is 'How often it was claimed to be sent; tells a sender''s lease from the next.';
comment on column public.notifications.last_error is
'Why the last try failed, as a code. The form has no room for a sentence, because the mail provider''s quote addresses.';

create function internal.notification_address(p_user_id uuid) returns text
language sql stable
set search_path = ''
as $$
  -- Who has saved a card has a customers row, and erasing the person empties its address. Who has none yet (a campaign
  -- may end without a card) is written to where they signed up.
  select case when c.user_id is not null then nullif(c.email, '') else u.email end
  from auth.users as u
  left join public.customers as c on u.id = c.user_id
  where u.id = p_user_id and (c.user_id is not null or u.email_confirmed_at is not null)
$$;
comment on function internal.notification_address(uuid) is
'Where a user''s mail goes, null where there is no address to write to.';

create function internal.notification_is_overtaken(p_notification public.notifications) returns boolean
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
        when 'hold_expiring' then b.status <> 'authorized' or b.closing_as is not null
        else false
      end
  )
$$;
comment on function internal.notification_is_overtaken(public.notifications) is
'Whether a message speaks of a moment that has passed: asking somebody to authenticate a booking that is confirmed or
cancelled by now would only alarm. Ends are never overtaken.';

create function internal.notification_json(p_notification public.notifications) returns jsonb
language sql stable
set search_path = ''
as $$
  select jsonb_build_object(
    'id', p_notification.id,
    'try', p_notification.tries,
    'kind', p_notification.kind,
    'data', p_notification.data,
    'created_at', p_notification.created_at,
    'email', internal.notification_address(p_notification.user_id),
    'campaign', case when c.id is not null then jsonb_build_object('id', c.id, 'title', c.title) end,
    'booking', case when b.id is not null then jsonb_build_object(
      'id', b.id, 'amount_minor', b.amount_minor, 'currency', b.currency
    ) end,
    'card', case when p.id is not null then jsonb_build_object(
      'brand', p.brand, 'last4', p.last4, 'exp_month', p.exp_month, 'exp_year', p.exp_year
    ) end,
    'exponent', y.exponent
  )
  from (select p_notification.*) as n
  left join public.campaigns as c on n.campaign_id = c.id
  left join public.bookings as b on n.booking_id = b.id
  left join public.currencies as y on y.code = coalesce(n.data ->> 'currency', b.currency)
  left join lateral (
    -- The card that the message is about, else the one that paid for the booking or was tried last.
    select m.* from public.payment_methods as m
    left join public.attempts as a on m.id = a.payment_method_id and a.booking_id = n.booking_id
    where
      m.user_id = n.user_id
      and case when n.data ? 'payment_method_id' then m.id::text = n.data ->> 'payment_method_id' else a.id is not null end
    order by (a.status = 'succeeded') desc nulls last, a.ordinal desc nulls last
    limit 1
  ) as p on true
$$;
comment on function internal.notification_json(public.notifications) is
'All that a template needs, read when the message is sent. Of the card it is brand, last four and expiry.';

create function internal.bury_notification(p_notification public.notifications, p_error text) returns void
language plpgsql
set search_path = ''
as $$
begin
  update public.notifications as n set status = 'dead', last_error = p_error where n.id = p_notification.id;
  -- A message that has nowhere to go, or nothing to say any more, is nobody's fault; Realtime has shown it.
  if p_error not in ('no_address', 'overtaken') then
    perform internal.report_incident(
      'notification_dead', p_notification.id || ':' || coalesce(p_error, 'unknown'), p_notification.booking_id,
      format('%s could not be sent: %s', p_notification.kind, coalesce(p_error, 'unknown'))
    );
  end if;
end
$$;
comment on function internal.bury_notification(public.notifications, text) is
'Gives a notification up; an engineer is told where something went wrong.';

create function public.claim_notifications(p_limit integer, p_lease_seconds integer) returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  limits internal.settings;
  due public.notifications;
  examined integer := 0;
  claimed jsonb := '[]';
begin
  select * into strict limits from internal.settings;
  for due in
    select n.* from public.notifications as n
    where n.status = 'pending' and n.next_attempt_at <= internal.clock()
    order by n.next_attempt_at, n.id
    limit least(p_limit, 100)
    for update skip locked
  loop
    examined := examined + 1;
    if due.tries >= limits.notification_tries then
      -- Claimed so often and never settled: what it does to its sender is not to be repeated for ever.
      perform internal.bury_notification(due, 'never_settled');
    elsif internal.notification_is_overtaken(due) then
      perform internal.bury_notification(due, 'overtaken');
    elsif internal.notification_address(due.user_id) is null then
      perform internal.bury_notification(due, 'no_address');
    else
      update public.notifications as n set
        tries = n.tries + 1, next_attempt_at = internal.clock() + make_interval(secs => p_lease_seconds)
      where n.id = due.id
      returning * into due;
      claimed := claimed || internal.notification_json(due);
    end if;
  end loop;
  return jsonb_build_object('examined', examined, 'notifications', claimed);
end
$$;
comment on function public.claim_notifications(integer, integer) is
'Leases due notifications to the caller, oldest first: nobody else gets them for p_lease_seconds, which must outlast the
caller. Those that need no sending are ended on the way; examined is 0 when nothing is due.
Definer: its caller holds no rights on the tables.';

create function public.settle_notification(p_id uuid, p_try integer, p_outcome text, p_error text default null) returns text
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
  if notification.tries <> p_try then
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
      update public.notifications as n set
        tries = n.tries - 1,
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
'How the try p_try of a notification ended. sent; retry: later, up to a limit; dead: refused for good; released: it was
not tried, or the provider takes nothing from us now (p_error), so the try does not count. Saying it twice is saying it
once. Definer: its caller holds no rights on the tables.';
