"""docs/queries.md is true: each of its queries gives the output beside it, on the demo's published file."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import duckdb
import pytest

from tasks.data.demo import write_demo_data
from tasks.settings.config import read_config
from tests.support.plain_nights import plain_night

ROOT = Path(__file__).parents[2]
COOKBOOK = ROOT / "docs" / "queries.md"
RECIPE = re.compile(r"```sql\n(.*?);\n```\n\n```text\n(.*?)```", re.DOTALL)


def test_every_query_gives_the_output_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish_demo()
    recipes = RECIPE.findall(COOKBOOK.read_text())
    assert len(recipes) == 12
    for query, output in recipes:
        assert answer(query) == output, query


def publish_demo() -> None:
    """The demo's night, in the working directory."""
    write_demo_data(Path("data/movielens"))
    assert plain_night(read_config(ROOT / "config" / "movielens.yaml")).status == "published"


def answer(query: str) -> str:
    *before, last = query.split(";\n")
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        for statement in before:
            connection.execute(statement)
        with redirect_stdout(io.StringIO()) as shown:
            connection.sql(last).show(max_width=118)
        return re.sub(r" +$", "", shown.getvalue().strip("\n"), flags=re.MULTILINE) + "\n"


if __name__ == "__main__":
    import os
    import tempfile

    os.chdir(tempfile.mkdtemp())
    publish_demo()
    text = RECIPE.sub(
        lambda found: f"```sql\n{found[1]};\n```\n\n```text\n{answer(found[1])}```", COOKBOOK.read_text()
    )
    COOKBOOK.write_text(text)
