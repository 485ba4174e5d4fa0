-- migrate:up
-- A message that is given back counts as not tried, so the next claim had the same number as the one before. Who repeated
-- its giving back, as its first answer was lost, took the lease of whoever had claimed since, and a third could send the
-- same mail. Claims have numbers of their own, which never come again.

alter table public.notifications add column claims integer not null default 0 check (claims >= 0);
comment on column public.notifications.claims is 'How often it was claimed; the number of the last claim is its lease.';
update public.notifications as n set claims = n.tries
where n.tries > 0;

create or replace function internal.notification_json(p_notification public.notifications) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'id', p_notification.id,
      'try', p_notification.claims,
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
  );
end
$$;

create or replace function public.claim_notifications(p_limit integer, p_lease_seconds integer) returns jsonb
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
        tries = n.tries + 1,
        claims = n.claims + 1,
        next_attempt_at = internal.clock() + make_interval(secs => p_lease_seconds)
      where n.id = due.id
      returning * into due;
      claimed := claimed || internal.notification_json(due);
    end if;
  end loop;
  return jsonb_build_object('examined', examined, 'notifications', claimed);
end
$$;

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
'How the claim p_try of a notification ended. sent; retry: later, up to a limit; dead: refused for good; released: it was
not tried, or the provider takes nothing from us now (p_error), so the try does not count. Saying it twice is saying it
once. Definer: its caller holds no rights on the tables.';
