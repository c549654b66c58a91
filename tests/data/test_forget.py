"""People who leave: nothing of theirs stays in the warehouse, and nothing comes back."""

import html
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml
from scipy import sparse

import tasks.data.removal.forget_files
import tasks.publish.materialize
from flows.cli import main
from flows.data import ingest_alone
from tasks.data.removal.forget import forget
from tasks.data.removal.redact import _redact_lines, without
from tasks.errors import InputError, ValidationFailed, WarehouseBusy
from tasks.publish.publication import roll_back
from tasks.read.score import Scorer
from tasks.report.report import find_report
from tasks.run import durable as files
from tasks.run.index import list_runs
from tasks.run.integrity import OF_SCORES, require_files, require_tables
from tasks.run.lock import locked
from tasks.run.manifest import read_manifest
from tasks.run.publications import publications
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tasks.settings.source import IdSettings
from tests.support.plain_nights import plain_flow, plain_night, plain_refresh, plain_republish
from tests.support.published_state import digest_of_tables
from tests.support.worlds import community_events, config, settings, write_world

PERSON, OTHER = 'anna "x", o\'neil', "person-6"
QUARANTINE = {"max_share": 0.5}
NUMBERS = {"user_id": "user", "item_id": "movie", "value": "rating", "timestamp": None}


def people(user: int) -> str:
    return PERSON if user == 5 else f"person-{user}"


def named() -> pl.DataFrame:
    """The small world's events, their users with names."""
    events = community_events()
    names = {user: people(user) for user in events["user"].unique()}
    return events.with_columns(user=pl.col("user").replace_strict(names))


def of(user: str, *items: int, rating: float = 5.0) -> pl.DataFrame:
    rows = [(user, item, rating, 1_650_000_000) for item in items]
    return pl.DataFrame(rows, schema=named().schema, orient="row")


def town(**changes: dict) -> Config:
    """Several files; tables of users beside the published file; spares; quarantined rows."""
    items = {"path": "data/movies.parquet", "item_id": "movie", "title": "name", "available_until": "until"}
    source = {"events": "data/*ratings.*", "items": items}
    lists = {"k": 10, "neighbors": 5, "max_table_size": "1KB"}
    return config(source=source, quarantine=QUARANTINE, recommendations=lists, **changes)


@pytest.fixture(scope="module")
def made_nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where `two_nights` are, for the tables beside the published files are found there only, and a copy."""
    folder = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_two_nights()
    return folder, shutil.copytree(folder, folder.with_name("copy"), symlinks=True)


@pytest.fixture
def two_nights(made_nights: tuple[Path, Path], without_prefect: None, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two published nights, one that an expectation stopped naming the person, quarantined rows of several kinds."""
    folder, copy = made_nights
    for part in folder.iterdir():
        shutil.rmtree(part)
    shutil.copytree(copy, folder, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    return town()


def make_two_nights() -> None:
    write_world(Path.cwd())
    movies = pl.read_parquet("data/movies.parquet").with_columns(until=pl.lit(None, pl.Datetime))
    movies.write_parquet("data/movies.parquet")
    named().write_parquet("data/ratings.parquet")
    lines = [f'{{"user": {json.dumps(PERSON)}, "movie": 1, "rating": "bad", "at": 1650000000}}',
             f'{{"user": "{OTHER}", "movie": 1, "rating": "bad", "at": 1650000000}}',
             f'{{"user": {json.dumps(PERSON)}, "movie"']  # fmt: skip
    Path("data/odd_ratings.jsonl").write_text("\n".join(lines) + "\n")
    plain_night(town())
    of("person-9", 3, 4).write_parquet("data/more_ratings.parquet")
    plain_night(town())
    no_anna = "select * from {batch} where user_id like 'anna%'"
    strict = {"expect": "unexpected_rows_expectation", "unexpected_rows_query": no_anna}
    with pytest.raises(ValidationFailed, match="anna"):
        plain_night(town(validation={"expectations": [strict]}))


def traces(warehouse: Path, user_id: str) -> Iterator[str]:
    """Where the id still is, as it is or as JSON writes it: in any table, and in any other file."""
    written = {user_id, json.dumps(user_id)[1:-1]}
    for path in sorted(path for path in warehouse.rglob("*") if path.is_file() and not path.is_symlink()):
        if path.suffix == ".parquet":
            tables = {path.name: pl.read_parquet(path)}
        elif path.suffix == ".duckdb":
            tables = _tables(path)
        else:
            content = html.unescape(path.read_bytes().decode(errors="replace"))
            yield from [str(path)] if any(one in content for one in written) else []
            continue
        for name, table in tables.items():
            if any(one in str(value) for column in table for value in column for one in written):
                yield f"{path}: {name}"


def _tables(path: Path) -> dict[str, pl.DataFrame]:
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()]
        return {name: pl.DataFrame(connection.sql(f"from {name}").to_arrow_table()) for name in names}


def test_nothing_of_a_person_stays_and_nobody_else_loses_anything(two_nights: Config) -> None:
    warehouse = Path(two_nights.warehouse)
    found = list(traces(warehouse, PERSON))
    beside = [one for one in found if "published/" in one and one.endswith("user_topk.parquet: user_topk.parquet")]
    for part in ("event_rows", "rejected_events", "users.parquet", "manifest.json", "user_spares"):
        assert any(part in one for one in found), part
    assert len(beside) == 2, "both publications have it"
    before = {path.name: _tables(path) for path in warehouse.glob("published/*.duckdb")}

    forgotten = forget(two_nights, [PERSON])
    assert (forgotten.n_people, forgotten.n_known, forgotten.n_rejected) == (1, 1, 2)
    assert forgotten.n_events == named().filter(pl.col("user") == PERSON).height
    assert list(traces(warehouse, PERSON)) == []
    assert list(traces(warehouse, OTHER)), "nobody else is forgotten"
    with duckdb.connect(str(warehouse / "events.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from rejected_events").fetchall() == [(2,)]
        lines = connection.execute("select raw from rejected_events where reasons like 'malformed%'").fetchall()
        assert lines == [(None,)]
    for path in warehouse.glob("published/*.duckdb"):
        for name, table in _tables(path).items():
            earlier = before[path.name][name]
            earlier = earlier.filter(pl.col("user_id") != PERSON) if "user_id" in earlier.columns else earlier
            assert table.equals(earlier), "rows and their order"
        with duckdb.connect(str(path), read_only=True) as connection:
            lists = "select count(*), count(distinct user_id) from user_topk"
            assert connection.execute(lists).fetchall() == [(2390, 239)]
            assert connection.execute("select count(*) from recommend('person-6')").fetchall() == [(10,)]
            views = connection.execute("select comment from duckdb_views() where view_name = 'user_topk'").fetchall()
            assert views[0][0], "what is said about it is there still"
        assert path.stat().st_mode & 0o222 == 0


def test_matrices_keep_their_order_and_the_model_can_be_asked(two_nights: Config) -> None:
    run_id = Warehouse(Path(two_nights.warehouse)).current_run_id
    folder = Path(two_nights.warehouse, "runs", run_id)
    users = pl.read_parquet(folder / "users.parquet")
    X = sparse.load_npz(folder / "interactions.npz").toarray()
    forget(two_nights, [PERSON])
    left = pl.read_parquet(folder / "users.parquet")
    stays = (users["user_id"] != PERSON).to_numpy()
    assert left["user_id"].to_list() == users["user_id"].filter(pl.Series(stays)).to_list()
    assert left["user_idx"].to_list() == list(range(239))
    assert left["user_idx"].dtype == users["user_idx"].dtype
    assert (sparse.load_npz(folder / "interactions.npz").toarray() == X[stays]).all()
    assert sparse.load_npz(folder / "seen.npz").shape == (239, 60)
    pairs = pl.DataFrame({"user_id": [PERSON, OTHER], "item_id": [3, 3]})
    scored = pl.DataFrame(Scorer.load(two_nights).add_scores(pairs.to_arrow()))
    assert scored["unknown"].to_list() == ["user", None]
    roll_back(two_nights)
    scored = pl.DataFrame(Scorer.load(two_nights).add_scores(pairs.to_arrow()))
    assert scored["unknown"].to_list() == ["user", None]


def test_new_tables_are_those_of_a_world_without_the_person(two_nights: Config) -> None:
    forget(two_nights, [PERSON])
    run_id = plain_republish(two_nights, "forget", "1 people")
    warehouse = Path(two_nights.warehouse)
    assert Warehouse(warehouse).current_run_id == run_id
    before, last = publications(Warehouse(warehouse))[-2:]
    assert (last.run_id, last.replaced, last.action, last.reason) == (run_id, before.run_id, "forget", "1 people")
    ours = digest_of_tables(two_nights, warehouse / "current.duckdb")
    assert list(traces(warehouse, PERSON)) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.publish.materialize, "reuse_earlier", lambda *_: None)
        plain_refresh(two_nights)
    assert digest_of_tables(two_nights, warehouse / "current.duckdb") == ours, "as if all were rebuilt"
    named().filter(pl.col("user") != PERSON).write_parquet("data/ratings.parquet")
    Path("data/odd_ratings.jsonl").unlink()
    other = two_nights.model_copy(update={"warehouse": "other"})
    plain_night(other)
    for query in ("from user_items order by all", "from popular_items order by all"):
        with duckdb.connect("warehouse/current.duckdb") as ours, duckdb.connect("other/current.duckdb") as theirs:
            assert ours.execute(query).fetchall() == theirs.execute(query).fetchall()


def test_what_comes_again_is_kept_out(two_nights: Config, logged: list[str]) -> None:
    forget(two_nights, [PERSON])
    of(PERSON, 1, 2, 3).write_parquet("data/again_ratings.parquet")
    pl.concat([named(), of(PERSON, 8)]).write_parquet("data/ratings.parquet")
    with Path("data/odd_ratings.jsonl").open("a") as file:
        file.write(f'{{"user": {json.dumps(PERSON)}, "movie": 2, "rating": "worse", "at": 1650000000}}\n')
        file.write("{broken\n")
    plain_night(two_nights)
    assert list(traces(Path(two_nights.warehouse), PERSON)) == []
    assert "3 rows of people who were forgotten are not taken in" in logged
    assert logged.count("starting from the spectrum") == 2, "both models, which have learnt from the person"
    run = list_runs(Warehouse(Path(two_nights.warehouse)))[-1]
    assert run.status == "published"
    ingested = read_manifest(Warehouse(Path(two_nights.warehouse)).run_folder(run.run_id)).stages["ingest"]
    assert ingested["n_read"] == ingested["n_events"] + ingested["n_repeated"] + ingested["n_rejected"]
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        query = "select raw from rejected_events where reasons like 'malformed%' order by row_number"
        assert connection.execute(query).fetchall() == [(None,), ("{broken",)]
    of("person-9", 44).write_parquet("data/later_ratings.parquet")
    plain_night(two_nights)
    assert logged.count("starting from the spectrum") == 2, "those of the night before have not"


@pytest.mark.parametrize("kill_at", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 4)), 3, 5, 6])
def test_what_a_kill_left_the_next_run_finishes(
    kill_at: int, two_nights: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the n-th new file is put in place; whatever is there is whole for readers and for scores."""
    warehouse, left = Path(two_nights.warehouse).absolute(), [kill_at]

    def put_in_place(unfinished: Path, path: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        files.put_in_place(unfinished, path)

    current = Warehouse(warehouse).current_run_id
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tasks.data.removal.forget_files, "put_in_place", put_in_place)
        forget(two_nights, [PERSON])
    if kill_at % 3 == 0:
        assert forget(two_nights, [OTHER]).damaged == (), "somebody else meanwhile"
    plain_refresh(two_nights) if kill_at in (0, 5) else plain_flow(ingest_alone, two_nights)
    assert [one for one in traces(warehouse, PERSON) if "validation_results" not in one] == []
    require_tables(Warehouse(warehouse), current)
    require_files(Warehouse(warehouse), current, OF_SCORES)
    users = pl.read_parquet(warehouse / "runs" / current / "users.parquet")
    seen = sparse.load_npz(warehouse / "runs" / current / "seen.npz")
    histories = named().group_by("user").agg(pl.col("movie").sort())
    for place, user in [(place, user) for place, user in users.select("user_idx", "user_id").iter_rows()][::40]:
        expected = histories.filter(pl.col("user") == user)["movie"].item().to_list()
        assert set(expected) <= set(seen[[place]].indices.tolist()), "rows are still those of their users"


def raws(warehouse: str = "warehouse") -> list[str | None]:
    with duckdb.connect(f"{warehouse}/events.duckdb", read_only=True) as connection:
        rows = connection.execute("select raw from rejected_events order by file_id, row_number").fetchall()
    return [raw for (raw,) in rows]


@pytest.mark.usefixtures("without_prefect")
def test_rows_whose_user_is_no_id_and_lines_that_are_no_rows(world: Path) -> None:
    numbers = {"events": ["data/ratings.parquet", "data/*.csv"], "columns": NUMBERS | {"timestamp": "at"}}
    settings = config(source=numbers, quarantine={"max_share": 1.0})
    Path("data/first.csv").write_text("user,movie,rating,at\n42,3,bad,1650000000\n420,3,bad,1650000000\n")
    plain_night(settings)
    assert forget(settings, ["42"]).n_rejected == 1
    assert ["420" in raw for raw in raws()] == [True], "somebody else's row stays"
    lines = ["user,movie,rating,at", "042,3,5,1650000000", "42.0,3,5,1650000000", "43.0,3,5,1650000000",
             "42,3,5,1650000000,7", '"42',  "43^42^5,,,,"]  # fmt: skip
    Path("data/second.csv").write_text("\n".join(lines) + "\n")
    plain_refresh(settings)
    kept = [raw for raw in raws() if raw is not None]
    assert len(kept) == 2 and any("43.0" in raw for raw in kept)
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        assert connection.execute("select count(*) from events where user_id = 42").fetchall() == [(0,)]


def test_quarantined_rows_of_others_stay(two_nights: Config) -> None:
    users = ("anna", "ANNA", "anna2")
    lines = [f'{{"user": "{user}", "movie": 1, "rating": "bad", "at": 1650000000}}' for user in users]
    of("person-9", *range(20, 40)).write_parquet("data/good_ratings.parquet")
    lines += ['{"user": "zoë", "movie": "anna"', "Eve90 stays"]
    Path("data/more_ratings.jsonl").write_text("\n".join(lines) + "\n")
    plain_refresh(two_nights)
    forget(two_nights, ["anna", "zoë", "Eve9"])
    assert "Eve90 stays" in raws(), "Eve9 is another word"
    assert [raw for raw in raws() if raw is not None and "anna" in raw.lower() and "o'neil" not in raw] == [
        '{"user":"ANNA","movie":1,"rating":"bad","at":1650000000}',
        '{"user":"anna2","movie":1,"rating":"bad","at":1650000000}',
    ]


def test_what_others_have_open_is_not_taken_for_damage(two_nights: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> bool:
        raise duckdb.IOException("Could not set lock on file: somebody has it")

    with monkeypatch.context() as patch:
        patch.setattr(tasks.data.removal.forget_files, "_tables_have_them", busy)
        with pytest.raises(WarehouseBusy):
            forget(two_nights, [PERSON])
    plain_refresh(two_nights)
    assert [one for one in traces(Path("warehouse"), PERSON) if "validation_results" not in one] == []


def test_digests_are_those_of_the_new_files_and_a_damaged_file_is_named(two_nights: Config) -> None:
    earlier, current = (entry.run_id for entry in publications(Warehouse(Path(two_nights.warehouse).absolute())))
    Path("warehouse/runs", earlier, "users.parquet").write_bytes(b"PAR1")
    Path("warehouse/runs", earlier, "manifest.json").write_text("{")
    damaged = forget(two_nights, [PERSON]).damaged
    assert len(damaged) == 1 and f"{earlier}/users.parquet" in damaged[0]
    for run_id in (earlier, current):
        with duckdb.connect(f"warehouse/published/{run_id}.duckdb", read_only=True) as connection:
            assert connection.execute("select count(distinct user_id) from user_topk").fetchall() == [(239,)]
    warehouse = Warehouse(Path("warehouse").absolute())
    require_tables(warehouse, current)
    require_files(warehouse, current, OF_SCORES)
    assert forget(two_nights, [PERSON]).n_events == 0


def test_damaged_tables_are_named_and_stop_neither_forgetting_nor_later_nights(two_nights: Config) -> None:
    warehouse = Warehouse(Path(two_nights.warehouse).absolute())
    earlier, _ = (entry.run_id for entry in publications(warehouse))
    warehouse.tables(earlier).chmod(0o644)
    warehouse.tables(earlier).write_bytes(b"damaged" * 10_000)
    damaged = forget(two_nights, [PERSON]).damaged
    assert len(damaged) == 1 and f"{earlier}.duckdb" in damaged[0]
    assert plain_night(two_nights).status == "published"
    warehouse.tables(earlier).unlink()
    assert [one for one in traces(warehouse.path, PERSON) if "validation_results" not in one] == []


def test_copies_that_killed_writers_left_are_removed(two_nights: Config) -> None:
    warehouse = Warehouse(Path(two_nights.warehouse).absolute())
    current = warehouse.run_folder(warehouse.current_run_id)
    left = [warehouse.runs / "index.json.0a.new", current / "manifest.json.0b.new", current / "log.jsonl.0c.new"]
    for path in left:
        path.write_text(f"a reason that names {PERSON}")
    forget(two_nights, [PERSON])
    assert [path for path in left if path.exists()] == []


def test_a_rejected_night_is_resumed_without_the_person(two_nights: Config) -> None:
    rejected = plain_night(town(gate={"minimums": {"ndcg@10": 1.1}}))
    assert rejected.status == "rejected"
    forget(two_nights, [PERSON])
    resumed = plain_night(town(), rejected.run_id)
    assert resumed.status == "published" and list(traces(Path("warehouse"), PERSON)) == []
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        assert connection.execute("select count(distinct user_id) from user_topk").fetchall() == [(239,)]


def test_a_report_that_shows_somebody_goes(two_nights: Config) -> None:
    report = find_report(two_nights, Warehouse(Path("warehouse")).current_run_id)
    report.write_text(report.read_text() + "<h3>User anna &#34;x&#34;, o&#39;neil</h3>")
    forget(two_nights, [PERSON])
    assert not report.exists()


@pytest.mark.parametrize("given", ["", "NULL", "4_2"])
def test_what_is_no_id_forgets_nobody(given: str, two_nights: Config) -> None:
    if given == "4_2":
        pl.DataFrame({"user": [42, 7], "movie": [1, 2], "rating": [5.0, 5.0]}).write_parquet("data/numbers.parquet")
        two_nights = config(warehouse="numbers", source={"events": "data/numbers.parquet", "columns": NUMBERS})
        with pytest.raises(InputError):  # too little to learn from, but taken in
            plain_night(two_nights)
    with pytest.raises(InputError, match="is no id: .* nobody is forgotten"):
        forget(two_nights, [given])
    with duckdb.connect(f"{two_nights.warehouse}/events.duckdb", read_only=True) as connection:
        assert connection.execute("select count(*) from forgotten_people").fetchall() == [(0,)]


def test_ids_that_are_told_apart_in_another_way_later(two_nights: Config) -> None:
    """With lowercase, two are one; forgotten as one of the two, nobody comes back as the other."""
    of("PERSON-9", 3, 4).write_parquet("data/large_ratings.parquet")
    plain_refresh(two_nights)
    forget(two_nights, ["PERSON-9", "person-8"])
    assert len(list(traces(Path("warehouse"), "person-9"))) > 0, "another person"
    lower = town()
    lower = lower.model_copy(update={"source": lower.source.model_copy(update={"ids": IdSettings(lowercase=True)})})
    plain_refresh(lower)
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        query = "select count(*) from events where user_id in ('person-9', 'person-8')"
        assert connection.execute(query).fetchall() == [(0,)]


@pytest.mark.usefixtures("without_engine")
def test_ids_that_are_numbers_from_a_file_at_the_terminal(
    world: Path, first_night: object, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    Path("leave.txt").write_text("\ufeff42\n\n1000\n")
    assert main(["forget", "--config", "my.yaml"]) == 2
    assert "--file" in capsys.readouterr().err
    with locked(Path("warehouse/lock")):
        assert main(["forget", "7", "--config", "my.yaml"]) == 5
    assert main(["forget", "7", "--file", "leave.txt", "--config", "my.yaml"]) == 0
    said = capsys.readouterr().out
    assert "3 people forgotten, 1 of them without an event: 26 events and 0 quarantined rows" in said
    assert f"published run {Warehouse(Path('warehouse')).current_run_id}" in said
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        assert connection.execute("select count(distinct user_id) from user_topk").fetchall() == [(238,)]
        assert connection.execute("select count(*) from user_items where user_id in (7, 42)").fetchall() == [(0,)]
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        for digest, salt in connection.execute("select digest, salt from forgotten_people").fetchall():
            assert not {"7", "42", "1000"} & {digest, salt}
    assert main(["runs", "--config", "my.yaml"]) == 0
    assert ": 3 people" in capsys.readouterr().out
    warehouse = Warehouse(Path("warehouse"))
    manifest = read_manifest(warehouse.run_folder(list_runs(warehouse)[-1].run_id))
    assert (manifest.kind, manifest.why) == ("forget", "3 people"), "who they are is written nowhere"


def test_a_message_with_another_end_of_line_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"message": "anna\u2028here"}\n{"message": "\x85"}\n')
    assert _redact_lines(path, "message", ["anna"])
    messages = [json.loads(line)["message"] for line in path.read_text().split("\n")[:-1]]
    assert messages == ["[forgotten]\u2028here", "\x85"]


def test_a_number_is_a_person_only_in_text_about_users() -> None:
    assert without("against it: user_id 42, item_id 7", ["42"]) == "against it: user_id [forgotten], item_id 7"
    assert without("of 42 rows 142 fall", ["42"]) == "of 42 rows 142 fall"
    assert without("anna, annabel and anna.", ["anna"]) == "[forgotten], annabel and [forgotten]."


@pytest.mark.usefixtures("without_prefect")
def test_nobody_is_there_to_be_forgotten(world: Path, capsys: pytest.CaptureFixture) -> None:
    write_world(Path(".")) if not Path("data").exists() else None
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    assert main(["forget", "5", "--config", "my.yaml"]) == 2
    assert "holds no events" in capsys.readouterr().err
