-- A reference to a card names its user too, so that nobody can link another's card.
select format('%s %s', k.conrelid::regclass, k.conname) as object
from pg_constraint as k
where
  k.contype = 'f'
  and k.confrelid = 'public.payment_methods'::regclass
  and not exists (
    select from pg_attribute as a
    where a.attrelid = k.confrelid and a.attnum = any(k.confkey) and a.attname = 'user_id'
  );
