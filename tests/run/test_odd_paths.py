"""Warehouses, files and folders whose names mean something to DuckDB, SQLAlchemy, Polars or a shell."""

import re
import subprocess
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from flows.cli import main
from flows.commands.nightly import print_tables
from tasks.errors import InputError
from tasks.read.export import export_vectors
from tasks.read.score import score_file
from tasks.run.database import connect
from tasks.run.run import open_run
from tasks.settings.load import find_config, read_config
from tests.support.plain_nights import plain_night, plain_refresh
from tests.support.worlds import community_events, config, settings, write_world

ODD = "a b/user_id=5/item_id=7/run_id=x/ünï&+@,(1){2}!~^`|<>/-w"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "warehouse",
    ["p[1]", "p*q", "p\\q", "p?q", "it's", 'a"b', "a%b", "a;b", "a#b", "$a", "a\nb", "a\x1bb", "a\u202eb", "a\u200bb",
     "~", "~/w", "w" * 300],
)  # fmt: skip
def test_a_warehouse_that_cannot_be_is_refused_at_once(warehouse: str, world: Path) -> None:
    before = sorted(world.rglob("*"))
    with pytest.raises(InputError, match="choose one without|write the whole path|File name too long") as raised:
        open_run(config(warehouse=warehouse)).__enter__()
    assert raised.value.exit_code == 2
    assert sorted(world.rglob("*")) == before


def test_a_night_in_an_odd_place(
    tmp_path: Path, without_prefect: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """DuckDB takes folders key=value for columns: all events would be those of one user and one item."""
    place = tmp_path / "in [1] user_id=6" / "user=3"
    place.mkdir(parents=True)
    write_world(place)
    monkeypatch.chdir(place)
    (place / "c [1]*").mkdir()
    monkeypatch.setenv("ELSA_CONFIG", "c [1]*/user_id=4.yaml")
    warehouse, rules = tmp_path / ODD, {"k": 10, "neighbors": 5, "max_table_size": "1KB"}
    changed = settings(warehouse=str(warehouse), recommendations=rules)
    Path("c [1]*/user_id=4.yaml").write_text(yaml.safe_dump(changed))
    plain_night(read_config(find_config()))
    print_tables(read_config(find_config()))
    shown = capfd.readouterr().out
    with duckdb.connect(str(warehouse / "current.duckdb"), read_only=True) as connection:
        assert connection.sql("select n_users, n_items from run_info").fetchall() == [(240, 60)]
        assert connection.sql("select count(*), count(distinct user_id) from user_topk").fetchall() == [(2400, 240)]
        kinds = dict(connection.sql("select table_name, table_type from information_schema.tables").fetchall())
        assert kinds["user_topk"] == kinds["item_embeddings"] == "VIEW"
    for command in re.findall(r"^(\S+ -readonly .*?<<'SQL'\n.*?\nSQL)$", shown, re.MULTILINE | re.DOTALL):
        done = subprocess.run(["sh"], input=command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "") and "Film" in done.stdout
    for command in (["recommend", "5"], ["similar", "7"], ["explain", "5", "7"], ["runs"], ["report"], ["rejected"]):
        assert main(command) == 0, command
        assert "user_id=5" not in capfd.readouterr().out.replace(str(warehouse), "")
    Path("p [1]/user_id=9").mkdir(parents=True)
    pairs = pl.DataFrame({"user_id": [5, 6], "item_id": [2, 3]})
    pairs.write_parquet("p [1]/user_id=9/item_id=9.parquet")
    places = Path("p [1]/user_id=9/item_id=9.parquet"), Path("p [1]/user_id=9/out*.parquet")
    score_file.fn(read_config(find_config()), *places)
    scored = pl.read_parquet("p [1]/user_id=9/out*.parquet", glob=False)
    assert scored.select("user_id", "item_id").equals(pairs) and scored["score"].null_count() == 0
    n_users = export_vectors.fn(read_config(find_config()), "parquet", Path("v [1]/user_id=9/*")).n_users
    assert len(pl.read_parquet("v [1]/user_id=9/*/user_embeddings.parquet", glob=False)) == n_users > 200
    more = community_events().head(60).with_columns(user=pl.col("user") + 1000)
    more.write_parquet("data/more.parquet")
    changed["source"]["events"] = ["data/ratings.parquet", "data/more.parquet"]
    Path("c [1]*/user_id=4.yaml").write_text(yaml.safe_dump(changed))
    plain_refresh(read_config(find_config()))
    with duckdb.connect(str(warehouse / "current.duckdb"), read_only=True) as connection:
        n_users = community_events()["user"].n_unique() + more["user"].n_unique()
        assert connection.sql("select n_users, n_items from run_info").fetchall() == [(n_users, 60)]
    assert main(["rollback"]) == 0


@pytest.mark.parametrize("kind", ["relative", "symlink", "links inside", "long"])
def test_other_ways_to_name_a_warehouse(kind: str, world: Path, without_prefect: None) -> None:
    (world / "elsewhere" / "folder").mkdir(parents=True)
    (world / "linked").symlink_to(world / "elsewhere", target_is_directory=True)
    (world / "disk" / "published").mkdir(parents=True)
    (world / "disk" / "runs").mkdir()
    named = {
        "relative": "./elsewhere/folder/../../data/../.w/",
        "symlink": "linked/w",
        "links inside": "inside",
        "long": "/".join("x" * 200 for _ in range(4)),
    }[kind]
    if kind == "links inside":
        (world / named).mkdir()
        for name in ("published", "runs"):
            (world / named / name).symlink_to(world / "disk" / name, target_is_directory=True)
    changed = config(warehouse=named, recommendations={"k": 10, "neighbors": 5, "max_table_size": "1KB"})
    plain_night(changed)
    with connect(Path(named).absolute() / "current.duckdb", changed, read_only=True) as connection:
        assert connection.sql("select count(*), count(distinct user_id) from user_topk").fetchall() == [(2400, 240)]


def test_our_own_files_are_read_without_the_names_of_their_folders() -> None:
    files = [path for folder in ("sql", "tasks", "flows") for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path.read_text() for path in files if path.suffix in (".sql", ".py")]
    call = re.compile(r"(?<!pl\.)\bread_(?:parquet|csv|json|json_objects)\((?!%)")
    calls = [text[found.start() : found.start() + 330] for text in texts for found in call.finditer(text)]
    assert len(calls) == 20, "a call more or less is looked at here"
    assert [call for call in calls if "hive_partitioning = false" not in call] == []
