"""The published file's own queries and functions: elsa_core's numbers, for any ids, with nothing but DuckDB."""

import json
import string
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import sparse

from elsa_core import Ease, Elsa
from tests.support.published_file import (
    Ids,
    random_ease,
    random_histories,
    random_model,
    weights_of,
    without_residual,
    write_published,
)

pytestmark = pytest.mark.usefixtures("without_prefect")

SCRATCH = tempfile.TemporaryDirectory()  # for examples of Hypothesis, which have no fixtures of their own
NASTY = ["it's", ' "quoted" ', "a b", " a b", "", "Zoë 日本 🎬", "'; drop table items; --", "$k", "%_", "\\n", "a\nb",
         "null", "NULL", "0", "1e3", "-1", "01", "1.0", "{}", "[1]", "user_id", "x" * 300]  # fmt: skip
text_ids = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
)
number_ids = st.integers(-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class World:
    """A published file, and what it was made from."""

    path: Path
    model: Elsa | Ease
    X: sparse.csr_array
    user_ids: Ids
    item_ids: Ids

    @property
    def scores(self) -> np.ndarray:
        """x B, written down as it reads: (users, items)."""
        return self.X.toarray().astype(np.float64) @ weights_of(self.model)


Made = tuple[Elsa | Ease, sparse.csr_array, Ids, Ids]  # what a world is published from


@st.composite
def makings(draw: st.DrawFn) -> Made:
    kind = draw(st.sampled_from([text_ids, number_ids]))
    item_ids = sorted(draw(st.lists(kind, min_size=5, max_size=12, unique=True)), key=in_order)
    user_ids = sorted(draw(st.lists(kind, min_size=3, max_size=6, unique=True)), key=in_order)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    make = draw(st.sampled_from([random_model, random_ease, without_residual]))
    return make(len(item_ids), rng), random_histories(len(user_ids), len(item_ids), rng), user_ids, item_ids


def publish(made: Made) -> World:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH.name))
    return World(write_published(folder, *made, recommendations={"k": 8, "neighbors": 4}), *made)


def in_order(identifier: int | str) -> int | bytes:
    return identifier if isinstance(identifier, int) else identifier.encode()


def ask(path: Path, query: str, parameters: object = None) -> list[tuple]:
    return reader(path).execute(query, parameters).fetchall()


@lru_cache(maxsize=1)
def reader(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), read_only=True)


def check_that_score_is_that_of_the_model_seen_or_not(world: World) -> None:
    pairs = ask(
        world.path,
        "select user_id, item_id, score(user_id, item_id) from (select distinct user_id from user_topk "
        "union select user_id from user_items), (select item_id from catalogue)",
    )
    users = {identifier: place for place, identifier in enumerate(world.user_ids)}
    items = {identifier: place for place, identifier in enumerate(world.item_ids)}
    assert len(pairs) == len(users) * len(items)
    for user, item, score in pairs:
        if users[user] == 0:
            assert score is None, "a user without a history that counts has no score"
        else:
            assert score == pytest.approx(world.scores[users[user], items[item]], abs=1e-5)
    user, item = world.user_ids[-1], world.item_ids[0]
    for given_user, given_item in ((user, item), (str(user), str(item))):
        (found,) = ask(world.path, "select score(?, ?)", [given_user, given_item])
        assert found[0] == pytest.approx(world.scores[-1, 0], abs=1e-5)


def check_that_score_pairs_keeps_every_row_and_marks_what_is_unknown_with_null(world: World) -> None:
    users = [*map(str, world.user_ids), "nobody at all", str(world.user_ids[-1])]
    items = [str(world.item_ids[0]), str(world.item_ids[-1]), "nothing at all", str(world.item_ids[0])]
    with duckdb.connect(str(world.path), read_only=True) as connection:
        connection.execute("create temp table given (n integer, user_id varchar, item_id varchar)")
        rows = [(n, users[n % len(users)], items[n % len(items)]) for n in range(len(users) * len(items))]
        connection.executemany("insert into given values (?, ?, ?)", rows)
        found = connection.execute(
            "select n, user_id, item_id, score from score_pairs('given') order by n"
        ).fetchall()
    assert [row[:3] for row in found] == rows
    scores = {(str(user), str(item)): world.scores[u, i] for u, user in enumerate(world.user_ids)
              for i, item in enumerate(world.item_ids) if u}  # fmt: skip
    for _, user, item, score in found:
        assert score == (None if (user, item) not in scores else pytest.approx(scores[user, item], abs=1e-5))


def check_that_shares_are_the_models_contributions_and_add_up(world: World) -> None:
    score = "select user_id, item_id, score(user_id::varchar, item_id::varchar)"
    pairs = "(select distinct user_id from user_items), (select item_id from catalogue)"
    totals = {(user, item): total for user, item, total in ask(world.path, f"{score} from {pairs}")}
    for u, user in enumerate(world.user_ids):
        for i, item in enumerate(world.item_ids):
            found = ask(world.path, "from explain(?, ?)", [str(user), str(item)])
            reasons = world.model.contributions(world.X[[u]], np.array([i])).toarray()[0]
            expected = {world.item_ids[j]: reasons[j] for j in world.X[[u]].indices if j != i}
            assert {row[0]: row[3] for row in found} == pytest.approx(expected, abs=1e-5)
            shares = [row[3] for row in found]
            assert shares == sorted(shares, reverse=True)
            assert all(row[1] == f"Title of {row[0]}" for row in found)
            if u:
                assert sum(shares) == pytest.approx(totals[user, item], abs=1e-5)


def check_that_lists_and_neighbours_are_the_tables(world: World) -> None:
    for u, user in enumerate(world.user_ids):
        found = ask(world.path, "from recommend(?, k := 3)", [str(user)])
        expected = ask(world.path, "select rank, item_id, score, source from user_topk "
                       "where user_id = ? and rank <= 3 order by rank", [user])  # fmt: skip
        assert [(row[0], row[1], row[3], row[4]) for row in found] == expected
        items, _ = world.model.recommend(world.X[[u]], 3)
        personal = [row[1] for row in found if row[4] == "personal"]
        assert personal == [world.item_ids[i] for i in items[0] if i >= 0]
        assert ask(world.path, "from recommend(?)", [user]) == ask(world.path, "from recommend(?)", [str(user)])
    for i, item in enumerate(world.item_ids):
        items, scores = world.model.similar(np.array([i]), 4)
        found = ask(world.path, "from similar(?)", [str(item)])
        assert [row[1] for row in found] == [world.item_ids[j] for j in items[0] if j >= 0]
        assert [row[3] for row in found] == pytest.approx(scores[0][items[0] >= 0], abs=1e-5)
    popular = ask(world.path, "from popular(k := 2)")
    assert [row[0] for row in popular] == [1, 2]
    assert popular[0][3] == np.diff(world.X.tocsc().indptr).max()


def check_that_a_basket_is_scored_as_a_new_user_would_be(world: World) -> None:
    baskets = [world.item_ids[:1], world.item_ids[1:4], [*world.item_ids[:2], world.item_ids[0]]]
    for basket in baskets:
        places = sorted({world.item_ids.index(item) for item in basket})
        x = np.zeros((1, len(world.item_ids)), dtype=np.float32)
        x[0, places] = 1
        items, scores = world.model.recommend(sparse.csr_array(x), len(world.item_ids) - len(places))
        for given_ids in (basket, [*map(str, basket), "nothing at all"]):
            found = ask(world.path, "from recommend_for(?, k := 100)", [given_ids])
            assert [row[1] for row in found] == [world.item_ids[i] for i in items[0]]
            assert [row[3] for row in found] == pytest.approx(scores[0], abs=1e-5)
            assert {row[4] for row in found} == {"personal"}
    for nothing in ([], ["nothing at all"], None):
        found = ask(world.path, "select rank, item_id, source from recommend_for(?, k := 3)", [nothing])
        expected = ask(world.path, "select rank, item_id, 'popular' from popular_items where rank <= 3 order by rank")
        assert found == expected


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
          phases=[Phase.generate])  # fmt: skip
@given(makings())
def test_the_numbers_are_those_of_the_model(made: Made) -> None:
    world = publish(made)
    check_that_score_is_that_of_the_model_seen_or_not(world)
    check_that_score_pairs_keeps_every_row_and_marks_what_is_unknown_with_null(world)
    check_that_shares_are_the_models_contributions_and_add_up(world)
    check_that_lists_and_neighbours_are_the_tables(world)
    check_that_a_basket_is_scored_as_a_new_user_would_be(world)


def test_scores_of_long_histories_hold_to_a_millionth_of_the_users_largest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((600, 64)) + 0.3
    A = (A / np.linalg.norm(A, axis=1, keepdims=True)).astype(np.float32)
    X = (rng.random((30, 600)) < 0.6) * rng.integers(1, 6, (30, 600))
    X[-1, :-1], X[0, -1] = np.maximum(X[-1, :-1], 1), 1
    world_ids = [*range(30)], [*range(600)]
    model, X = Elsa(A, [], 0, scale=0.9), sparse.csr_array(X.astype(np.float32))
    path = write_published(tmp_path, model, X, *world_ids, recommendations={"k": 8, "neighbors": 4})
    expected = World(path, model, X, *world_ids).scores
    largest = np.abs(expected).max(axis=1)
    assert largest.min() > 50
    with duckdb.connect(str(path), read_only=True) as connection:
        pairs = "select u as user_id, i as item_id from range(30) as t(u), range(600) as s(i)"
        connection.execute(f"create temp view pairs as {pairs}")
        found = connection.execute("select score from score_pairs('pairs') order by user_id, item_id").fetchall()
        explained = connection.execute("select sum(share) from explain(3, 599)").fetchall()
        one = connection.execute("select score(3, 599)").fetchall()
    assert (np.abs(np.array(found).reshape(30, 600) - expected) < 1e-6 * largest[:, None]).all()
    assert one == [(pytest.approx(expected[3, 599], abs=1e-6 * largest[3]),)]
    assert explained == [(pytest.approx(expected[3, 599], abs=1e-6 * largest[3]),)]


MISSING = ["nobody", "", " ", "'", "1e1", "5.0", " 5", "05", "+5", "5 or 1=1", "9" * 40, "NaN", "日本"]


@pytest.mark.parametrize("id_type", ["number", "text"])
def test_a_missing_id_gives_nothing_and_never_an_error(id_type: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    item_ids = list(range(5, 15)) if id_type == "number" else [f"item {n}" for n in range(10)]
    user_ids = list(range(5, 9)) if id_type == "number" else [f"user {n}" for n in range(4)]
    path = write_published(tmp_path, random_model(10, rng), random_histories(4, 10, rng), user_ids, item_ids)
    for missing in [*MISSING, None, 99, 1.5, -1]:
        for query in ("recommend(?)", "similar(?)"):
            assert ask(path, f"from {query}", [missing]) == [], (query, missing)
        known = user_ids[1], item_ids[1]
        for pair in ((missing, known[1]), (known[0], missing), (missing, missing)):
            assert ask(path, "from explain(?, ?)", pair) == [], pair
            assert ask(path, "select score(?, ?)", pair) == [(None,)], pair


ALIASED = [
    ("select score(3, 25)", "select score({a}.user_id, {a}.item_id)"),
    ("from recommend(3, k := 2)", "from recommend({a}.user_id, k := {a}.n)"),
    ("from similar(25, k := 2)", "from similar({a}.item_id, k := {a}.n)"),
    ("from popular(k := 2)", "from popular(k := {a}.n)"),
    ("from explain(3, 25)", "from explain({a}.user_id, {a}.item_id)"),
    ("from recommend_for([25], k := 2)", "from recommend_for([{a}.item_id], k := {a}.n)"),
]


@pytest.fixture(scope="module")
def number_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from prefect.logging import disable_run_logger

    rng = np.random.default_rng(4)
    model, X, user_ids, item_ids = random_model(12, rng), random_histories(6, 12, rng), [*range(6)], [*range(20, 32)]
    with disable_run_logger():
        path = write_published(tmp_path_factory.mktemp("numbers"), model, X, user_ids, item_ids)
    yield World(path, model, X, user_ids, item_ids)


@pytest.mark.parametrize(("plain", "aliased"), ALIASED, ids=[plain for plain, _ in ALIASED])
def test_what_readers_call_their_own_tables_changes_nothing(number_world: World, plain: str, aliased: str) -> None:
    with duckdb.connect(str(number_world.path), read_only=True) as connection:
        connection.execute("create temp table mine as select 3 as user_id, 25 as item_id, 2 as n")
        expected = connection.execute(plain).fetchall()
        for a in string.ascii_lowercase:
            query = f"select found.* from mine as {a}, lateral ({aliased.format(a=a)}) as found"
            assert sorted(connection.execute(query).fetchall()) == sorted(expected), query


@pytest.mark.parametrize("query", ["recommend(3, {})", "similar(25, {})", "popular({})", "recommend_for([25], {})"])
@pytest.mark.parametrize("k", [0, -1, "null"])
def test_a_list_of_no_length_has_no_rows(number_world: World, query: str, k: int | str) -> None:
    assert ask(number_world.path, f"from {query.format(f'k := {k}')}") == []


@pytest.mark.parametrize("name", ["asked", "scorable", "from_residuals", "scored", "pairs", "p", "s"])
def test_pairs_may_be_in_a_table_of_any_name(number_world: World, name: str) -> None:
    with duckdb.connect(str(number_world.path), read_only=True) as connection:
        connection.execute(f"create temp table {name} as select 3 as user_id, 25 as item_id, 'mine' as note")
        expected = number_world.scores[3, 5]
        assert connection.execute(f"from score_pairs('{name}')").fetchall() == [
            (3, 25, "mine", pytest.approx(expected, abs=1e-5))
        ]


@pytest.fixture(scope="module")
def text_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from prefect.logging import disable_run_logger

    rng = np.random.default_rng(3)
    ids = sorted(NASTY, key=in_order)
    model, X = random_model(len(ids), rng), random_histories(len(ids), len(ids), rng)
    with disable_run_logger():
        path = write_published(tmp_path_factory.mktemp("text"), model, X, ids, ids)
    yield World(path, model, X, ids, ids)


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def all_queries(world: World) -> list[str]:
    users, items = map(literal, world.user_ids), [literal(item) for item in world.item_ids]
    per_user = [
        query
        for user, item in zip(users, items, strict=True)
        for query in (
            f"from recommend({user}, k := 4)",
            f"from similar({item}, k := 3)",
            f"from explain({user}, {items[3]})",
            f"select score({user}, {item}) as score",
            f"from recommend_for([{item}, {items[0]}], k := 4)",
        )
    ]
    return [*per_user, "from popular(k := 5)", "from score_pairs('user_topk') order by user_id, rank limit 50",
            "select name, kind from readme", "select user_id, rank, item_id from user_topk_now order by all",
            "from available_items order by all"]  # fmt: skip


def same(ours: list[dict], theirs: list[dict]) -> None:
    """Equal but for the last digits of floating point."""
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs, strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert right[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value), name


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_the_command_line_of_duckdb_1_5_gives_the_same_answers(text_world: World) -> None:
    program = Path(sys.executable).parent / "duckdb"
    if not program.exists():
        pytest.skip("duckdb-cli is not installed")
    queries = all_queries(text_world)
    command = [program, "-readonly", "-json", str(text_world.path)]
    done = subprocess.run(command, input=";\n".join(queries) + ";", capture_output=True, text=True, check=False)
    assert done.stderr == ""
    decoder, theirs, place = json.JSONDecoder(), [], 0
    while place < len(done.stdout.rstrip()):
        rows, place = decoder.raw_decode(done.stdout, place)
        theirs.append(rows)
        while place < len(done.stdout) and done.stdout[place].isspace():
            place += 1
    with duckdb.connect(str(text_world.path), read_only=True) as connection:
        ours = [rows_of(connection, query) for query in queries]
    for query, mine, their in zip(queries, ours, theirs, strict=True):
        try:
            same(mine, their)
        except AssertionError as error:
            raise AssertionError(query) from error


ASK = """
import json, sys
import duckdb
assert duckdb.__version__.startswith("1.5"), duckdb.__version__
connection = duckdb.connect(sys.argv[1], read_only=True)
answers = []
for query in json.load(sys.stdin):
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    answers.append([dict(zip(names, row)) for row in found.fetchall()])
json.dump(answers, sys.stdout)
"""


@pytest.mark.slow
def test_the_python_client_of_duckdb_1_5_gives_the_same_answers(text_world: World, tmp_path: Path) -> None:
    venv.create(tmp_path / "old", with_pip=True)
    python = tmp_path / "old" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "duckdb==1.5.*"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"duckdb 1.5 cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    queries = all_queries(text_world)
    command = [python, "-c", ASK, str(text_world.path)]
    done = subprocess.run(command, input=json.dumps(queries), capture_output=True, text=True, check=True)
    with duckdb.connect(str(text_world.path), read_only=True) as connection:
        for query, theirs in zip(queries, json.loads(done.stdout), strict=True):
            same(rows_of(connection, query), theirs)
