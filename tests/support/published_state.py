"""What readers have: the published files, byte for byte, their contents, and as an older DuckDB reads them."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tasks.run.database import connect, first_row
from tasks.settings.config import Config

TABLES_OF_DATA = """
    with tables as (
        select table_name from duckdb_tables()
        union all
        select view_name from duckdb_views() where not internal and sql like '%read_parquet(%'
    )

    select table_name
    from tables
    where table_name not in ('run_info', 'run_metrics', 'gate_checks', 'validation_results', 'drift', 'run_stages')
    order by table_name
"""


def digest_of_tables(config: Config, path: Path) -> str:
    """Of the contents of all tables but the records of how runs went: equal for equal events, configuration and seed.

    Rows count in any order, so that two files are equal if their sorted contents are.
    """
    with connect(path, config, read_only=True) as connection:
        tables = [name for (name,) in connection.execute(TABLES_OF_DATA).fetchall()]
        digest = "select count(*), sum(md5_number_lower(cast({0} as varchar))) from {0}"
        contents = [(name, *first_row(connection, digest.format(name))) for name in tables]
    return hashlib.sha256(repr(contents).encode()).hexdigest()


def by_duckdb_1_5(path: Path, query: str) -> str:
    """What an older DuckDB, its command line, answers from the file."""
    program = Path(sys.executable).parent / "duckdb"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("v1.5")
    command = [program, "-readonly", "-csv", "-noheader", path, query]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every published file byte for byte, and where the symlink points."""
    found: dict[str, bytes | str] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("published/*")
    }
    link = folder / "current.duckdb"
    return found | ({"current.duckdb": str(link.readlink())} if link.is_symlink() else {})
