-- migrate:up
-- Matches of one batch of offers are considered at the same moment: which of them was sent again first was chance.

create or replace function public.waiting_matches(p_limit integer default 500) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('campaign_id', w.campaign_id, 'offer_id', w.offer_id)), '[]')
  from (
    select m.campaign_id, m.offer_id
    from public.matches as m
    cross join internal.settings as s
    where m.state = 'waiting' and m.updated_at + make_interval(secs => s.match_resend_seconds) <= internal.clock()
    order by m.considered_at, m.offer_id, m.campaign_id
    limit p_limit
  ) as w
$$;
