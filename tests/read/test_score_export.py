"""elsa score, explain and export: the published model's numbers as files and at the terminal."""

import json
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors import safe_open

from flows.cli import main
from tasks.errors import InputError
from tasks.read.export import export_vectors
from tasks.read.score import score_file
from tests.support.published_file import (
    NUMBERS,
    TEXT,
    Ids,
    publish,
)
from tests.support.worlds import config, settings

pytestmark = pytest.mark.usefixtures("without_prefect")


@pytest.mark.parametrize("ids", [NUMBERS, TEXT], ids=["numbers", "text"])
@pytest.mark.parametrize("as_text", [False, True])
def test_every_pair_gets_its_score_or_says_what_is_unknown(
    ids: tuple[Ids, Ids], as_text: bool, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.read.score.PAIRS", 17)
    scores = publish(world, ids)
    rng = np.random.default_rng(1)
    user, item = rng.integers(0, 9, 100), rng.integers(0, 21, 100)
    missing = 999 if ids is NUMBERS else "nobody"
    given = pl.DataFrame({
        "note": [f"row {n}" for n in range(100)],
        "item_id": [[*ids[1], missing][n] for n in item],
        "user_id": [[*ids[0], missing][n] for n in user],
    })  # fmt: skip
    if as_text:
        given = given.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    given.write_parquet("pairs.parquet")
    done = score_file.fn(config(), Path("pairs.parquet"), Path("scored.parquet"))
    found = pl.read_parquet("scored.parquet")
    assert found.select("note", "item_id", "user_id").equals(given)
    no_user, no_item = (user == 8) | (user == 0), item == 20
    expected = np.select([no_user & no_item, no_user, no_item], ["user and item", "user", "item"], "")
    assert found["unknown"].fill_null("").to_list() == expected.tolist()
    known = expected == ""
    assert done.n_pairs == 100 and done.n_scored == known.sum() == 100 - found["score"].null_count()
    np.testing.assert_allclose(found["score"].to_numpy()[known], scores[user[known], item[known]], atol=1e-5)
    assert not Path("scored.parquet.unfinished").exists()


def test_files_that_cannot_be_scored_are_said_and_leave_nothing(world: Path) -> None:
    pl.DataFrame({"user": [1], "item_id": [1]}).write_parquet("wrong.parquet")
    pl.DataFrame({"user_id": [1], "item_id": [1], "score": [1]}).write_parquet("scored_before.parquet")
    pl.DataFrame({"user_id": [1], "item_id": [1]}).write_parquet("right.parquet")
    Path("text.parquet").write_text("no")
    out = Path("out.parquet")
    for name, message in [
        ("absent.parquet", "absent.parquet cannot be read"),
        ("text.parquet", "text.parquet cannot be read as Parquet"),
        ("wrong.parquet", "has no column 'user_id'; it has user, item_id"),
        ("scored_before.parquet", "has a column 'score', which would be added"),
        ("right.parquet", "nothing published yet"),
    ]:
        with pytest.raises(InputError, match=message):
            score_file.fn(config(), Path(name), out)
    with pytest.raises(InputError, match="there is no folder"):
        score_file.fn(config(), Path("right.parquet"), Path("nowhere/out.parquet"))
    with pytest.raises(InputError, match="the file of pairs itself"):
        score_file.fn(config(), Path("right.parquet"), Path("right.parquet"))
    Path("folder").mkdir()
    with pytest.raises(InputError, match="--out folder is a folder; name a file in it"):
        score_file.fn(config(), Path("right.parquet"), Path("folder"))
    assert not list(Path().glob("out*")) and not list(Path("folder").iterdir())


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([[1]], "list"),
        ([b"\xff"], "binary"),
        ([{"id": 1}], "struct"),
        ([date(2026, 1, 1)], "date32"),
        ([True], "bool"),
    ],
)
def test_columns_that_hold_no_ids_are_refused_before_any_work(world: Path, ids: list, kind: str) -> None:
    pq.write_table(pa.table({"user_id": pa.array(ids), "item_id": [1]}), "pairs.parquet")
    with pytest.raises(InputError, match=f"pairs.parquet: column 'user_id' is of type {kind}.*; ids are whole"):
        score_file.fn(config(), Path("pairs.parquet"), Path("out.parquet"))


@pytest.mark.parametrize("ids", [NUMBERS, ([str(n) for n in NUMBERS[0]], sorted(map(str, NUMBERS[1])))],
                         ids=["numbers", "text"])  # fmt: skip
def test_whole_numbers_that_pandas_wrote_as_doubles_are_ids(world: Path, ids: tuple[Ids, Ids]) -> None:
    scores = publish(world, ids)
    given = {"user_id": [101.0, 102.0, None, 103.5, float("nan"), 1e300], "item_id": [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]}
    pl.DataFrame(given).write_parquet("pairs.parquet")
    score_file.fn(config(), Path("pairs.parquet"), Path("scored.parquet"))
    found = pl.read_parquet("scored.parquet")
    assert found["unknown"].to_list() == [None, None, "user", "user", "user", "user"]
    items = [[str(item) for item in ids[1]].index(item) for item in ("3", "4")]
    np.testing.assert_allclose(found["score"].to_numpy()[:2], scores[[1, 2], items], atol=1e-5)
    assert found["user_id"].dtype == pl.Float64


def test_a_double_that_may_be_several_ids_is_none_of_them(world: Path) -> None:
    publish(world, (NUMBERS[0], [*range(19), 2**60]))
    pl.DataFrame({"user_id": [101], "item_id": [float(2**60 + 1)]}).write_parquet("pairs.parquet")
    score_file.fn(config(), Path("pairs.parquet"), Path("scored.parquet"))
    assert pl.read_parquet("scored.parquet")["unknown"].to_list() == ["item"]


@pytest.mark.parametrize("ids", [NUMBERS, TEXT], ids=["numbers", "text"])
@pytest.mark.parametrize("form", ["parquet", "npy", "safetensors"])
def test_vectors_ids_and_digest_come_out_as_they_are_published(ids: tuple[Ids, Ids], form: str, world: Path) -> None:
    publish(world, ids)
    done = export_vectors.fn(config(), form, Path("vectors"))
    assert (done.n_items, done.n_users) == (20, 7)
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        for owner in ("item", "user"):
            rows = connection.execute(f"from {owner}_embeddings").fetchall()
            found_ids, vectors, about = read_back(form, owner)
            assert list(found_ids) == [row[0] for row in rows]
            np.testing.assert_array_equal(vectors, np.array([row[1] for row in rows], dtype=np.float32))
            assert about["model_digest"] == "digest" and about["run_id"] and float(about["scale"]) > 0
    with pytest.raises(InputError, match="exists already"):
        export_vectors.fn(config(), form, Path("vectors"))


def read_back(form: str, owner: str) -> tuple[list, np.ndarray, dict]:
    if form == "parquet":
        table = pq.read_table(f"vectors/{owner}_embeddings.parquet")
        about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        return table[f"{owner}_id"].to_pylist(), np.array(table["embedding"].to_pylist(), dtype=np.float32), about
    if form == "npy":
        about = json.loads(Path("vectors/metadata.json").read_text())
        ids, vectors = (np.load(f"vectors/{owner}_{what}.npy") for what in ("ids", "embeddings"))
        return ids.tolist(), vectors, about
    with safe_open("vectors/embeddings.safetensors", "numpy") as file:
        about = file.metadata()
        ids = (
            json.loads(about[f"{owner}_ids"]) if f"{owner}_ids" in about else file.get_tensor(f"{owner}_ids").tolist()
        )
        return ids, file.get_tensor(f"{owner}_embeddings"), about


def test_a_folder_that_cannot_be_made_is_said(world: Path) -> None:
    publish(world, NUMBERS)
    Path("file").touch()
    with pytest.raises(InputError, match="--out file/vectors: the folder cannot be made: .*Not a directory"):
        export_vectors.fn(config(), "npy", Path("file/vectors"))


@pytest.mark.usefixtures("without_engine")
def test_at_the_terminal(world: Path, capfd: pytest.CaptureFixture) -> None:
    publish(world, NUMBERS)
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    assert main(["explain", "105", "7", "-k", "3", "--config", "my.yaml"]) == 0
    shown = capfd.readouterr().out
    assert "item 7 (Title of 7) scores " in shown and shown.count("Title of") == 4
    assert main(["explain", "nobody", "7", "--config", "my.yaml"]) == 2
    assert "user nobody has no history that counts, or has only this item, or" in capfd.readouterr().err
    pl.DataFrame({"user_id": [105, 1], "item_id": [7, 7]}).write_parquet("pairs.parquet")
    assert main(["score", "pairs.parquet", "--out", "scored.parquet", "--config", "my.yaml"]) == 0
    assert "2 pairs in scored.parquet; 1 of them with an unknown user or item" in capfd.readouterr().out
    assert main(["export", "--format", "npy", "--out", "vectors", "--config", "my.yaml"]) == 0
    assert "20 item and 7 user vectors in vectors" in capfd.readouterr().out
