"""Where the database's time goes: what each SQL function takes, as Postgres counts it while schedules are played.

https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-USER-FUNCTIONS-VIEW
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 40
_PATIENCE_SECONDS = 10.0
_OTHERS = "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
_TIMES = """
select
  format('%%s.%%s', f.schemaname, f.funcname) as name, f.calls::double precision / %(schedules)s as calls,
  f.self_time / %(schedules)s as self_ms, f.total_time / %(schedules)s as total_ms,
  f.self_time / f.calls as self_ms_a_call
from pg_stat_user_functions as f
where f.schemaname in ('public', 'internal') and f.calls > 0
order by f.self_time desc, 1
"""


@dataclass(frozen=True)
class FunctionTime:
    """A SQL function: calls and milliseconds a schedule, `self_ms` without what it called; and a call's own."""

    name: str
    calls: float
    self_ms: float
    total_ms: float
    self_ms_a_call: float


def measure(url: str, *, first: int, schedules: int) -> list[FunctionTime]:
    """Play so many schedules and give what each SQL function took, the dearest first; first plans are in it.

    This process is good for nothing else afterwards.
    """
    from local.faults.bench import open_bench
    from local.faults.schedule import plan
    from local.faults.simulation import Simulation

    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("alter database {} set track_functions = 'all'").format(name))
    with open_bench(url) as bench:
        for seed in range(first, first + schedules):
            Simulation(bench, plan(seed)).play()
    with psycopg.connect(url, autocommit=True, row_factory=class_row(FunctionTime)) as reader:
        # A connection that is closed reports what it counted just before it goes.
        ends_at = time.monotonic() + _PATIENCE_SECONDS
        while reader.execute(_OTHERS).rowcount and time.monotonic() < ends_at:
            time.sleep(0.01)
        return reader.execute(_TIMES, {"schedules": schedules}).fetchall()


def show(console: "Console", url: str, times: list[FunctionTime], schedules: int) -> None:
    """The dearest functions as a table, under what was played on what."""
    with psycopg.connect(url, autocommit=True) as connection:
        version = connection.info.parameter_status("server_version")
        row = connection.execute("select current_setting('jit')").fetchone()
    jit = row[0] if row is not None else "unknown"
    whole = sum(each.self_ms for each in times)
    console.print(f"{schedules} schedules on PostgreSQL {version}, jit {jit}: {whole:.1f} ms in functions a schedule")
    table = Table(box=None)
    for title in ("function", "calls a schedule", "ms of its own", "with what it calls", "ms of its own a call"):
        table.add_column(title, justify="left" if title == "function" else "right")
    for each in times[:_SHOWN]:
        figures = (f"{each.calls:.2f}", f"{each.self_ms:.2f}", f"{each.total_ms:.2f}", f"{each.self_ms_a_call:.3f}")
        table.add_row(each.name, *figures)
    console.print(table)
    if len(times) > _SHOWN:
        console.print(f"and {len(times) - _SHOWN} more")
