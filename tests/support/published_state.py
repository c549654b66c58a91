"""What readers have: the published files, byte for byte, and as an older DuckDB reads them."""

import subprocess
import sys
from pathlib import Path


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
