"""The database of the simulation knows no time but the simulated one, whatever the day on which it is played."""

import psycopg

from local.faults.database_side import prepare

_REAL_CLOCKS = (
    r"\m(clock_timestamp|transaction_timestamp|statement_timestamp|now|timeofday)\(\)|"
    r"\m(current_timestamp|current_date|current_time|localtime|localtimestamp)\M"
)


def test_no_function_looks_at_the_real_clock(fresh_database_url: str) -> None:
    prepare(fresh_database_url)
    with psycopg.connect(fresh_database_url) as db:
        looking = db.execute(
            "select p.oid::regprocedure::text from pg_proc as p "
            "where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace) "
            "and coalesce(p.prosrc || pg_get_function_sqlbody(p.oid), p.prosrc) ~ %s",
            [_REAL_CLOCKS],
        ).fetchall()
        columns = db.execute(
            "select c.oid::regclass::text, a.attname from pg_attrdef as d "
            "join pg_class as c on c.oid = d.adrelid "
            "join pg_attribute as a on a.attrelid = d.adrelid and a.attnum = d.adnum "
            "where c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace) "
            "and pg_get_expr(d.adbin, d.adrelid) ~ %s",
            [_REAL_CLOCKS],
        ).fetchall()

    assert (looking, columns) == ([], [])
