"""The contract of the published tables: every query of sql/checks/ returns no row."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.publish.tables import RENEWED
from tasks.run.database import connect, first_row, sql
from tasks.run.progress import working
from tasks.run.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


class ContractBroken(AssertionError):
    """A finished table does not keep the contract in sql/checks/: a defect of this program, never published."""


def check_contract(run: Run, path: Path, changed: "pa.Table | None" = None) -> None:
    """Runs every query of sql/checks/. Raises ContractBroken where a row comes back.

    Those of sql/checks/users/ look at each user alone: in a refresh, at the `changed` ones (user_id). The rows of
    others are those of a file that has passed.
    """
    broken, checks, of_users = {}, _checks("checks"), _checks("checks/users")
    n_checks = len(checks) + len(of_users)
    with connect(path, run.config, read_only=True) as connection, working("contract checks") as show:
        for n_done, check in enumerate([*checks, *of_users]):
            show("contract checks", n_done / n_checks)
            if check == of_users[0] and changed is not None:
                _narrow(connection, changed)
            if rows := connection.execute(sql(check)).fetchall():
                broken[check.split("/")[-1]] = rows
    if broken:
        details = "; ".join(f"{check}: {len(rows)} rows, e.g. {rows[:3]}" for check, rows in broken.items())
        raise ContractBroken(
            f"the new tables break {len(broken)} of {n_checks} checks and were not published: {details}"
        )
    get_run_logger().info("all %s contract checks hold", n_checks)


def _checks(folder: str) -> list[str]:
    files = resources.files("sql").joinpath(folder).iterdir()
    return sorted(f"{folder}/{file.name.removesuffix('.sql')}" for file in files if file.name.endswith(".sql"))


def _narrow(connection: "DuckDBPyConnection", changed: "pa.Table") -> None:
    """Makes the names of users' tables stand for the rows of these users, in the order in which they lie."""
    database = first_row(connection, "select current_database()")[0]
    connection.register("changed", changed)
    in_file = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    for table in RENEWED:
        rows = f'from "{database}".main.{table} semi join changed using (user_id)'
        order = "rowid" if table in in_file else "1, 2"
        connection.execute(f"create temp table {table} as {rows} order by {order}")
