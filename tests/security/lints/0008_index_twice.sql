-- Two indexes over the same columns in the same order, under the same condition: each write pays twice.
select format('%s = %s', min(i.indexrelid::regclass::text), max(i.indexrelid::regclass::text)) as object
from pg_index as i
inner join pg_class as c on i.indrelid = c.oid
inner join pg_class as x on i.indexrelid = x.oid
where c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
group by
  i.indrelid, x.relam, i.indkey::text, i.indclass::text, i.indoption::text, i.indcollation::text,
  pg_get_expr(i.indpred, i.indrelid), pg_get_expr(i.indexprs, i.indrelid)
having count(*) > 1;
