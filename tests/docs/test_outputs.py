"""Every output in README.md and docs/ is what the program gives today: `make docs` rewrites those that are not."""

import difflib
import re
from collections.abc import Callable

import duckdb
import pytest

from tests.docs import write
from tests.docs.file_map import FILES, FOLDERS, file_map

PAGES = {name: (write.ROOT / name).read_text() for name in write.pages()}


def compare(name: str, shown: str, made: str) -> None:
    lines = difflib.unified_diff(shown.splitlines(), made.splitlines(), f"{name} as it is", "as it would be", n=1)
    difference = "\n".join(lines)
    assert not difference, f"{name} is out of date; make docs rewrites it:\n{difference}"


@pytest.fixture(scope="module")
def night(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """What the demo's night printed, whose tables are then in the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("demo"))
        shown = write.publish_demo()
        yield lambda: shown


@pytest.mark.parametrize("name", PAGES)
def test_outputs_on_a_page_are_those_of_the_demo(name: str, night: Callable[[], str]) -> None:
    compare(name, PAGES[name], write.made(PAGES[name], night))


def test_queries_in_the_text_of_readme_run(night: Callable[[], str]) -> None:
    queries = re.findall(r"`(from [^`]+)`", PAGES["README.md"])
    assert night() and len(queries) > 5
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        connection.execute("create temp view my_candidates as select 28 as user_id, 912 as item_id")
        for query in queries:
            assert connection.execute(query).fetchall(), query


@pytest.mark.parametrize("name", write.FILES)
def test_generated_pages_are_what_the_program_says(name: str) -> None:
    compare(name, (write.ROOT / name).read_text(), write.FILES[name]())


def test_the_pages_show_the_demo() -> None:
    assert "$ make nightly\n" in PAGES["README.md"] and "\npublished" not in PAGES["README.md"]
    assert PAGES["docs/queries.md"].count("```sql") == PAGES["docs/queries.md"].count("```text") == 12
    for text in PAGES.values():
        assert len(write.CODE.findall(text)) == text.count("```\n\n```text\n")
        assert len(write.PART.findall(text)) == text.count("<!-- end of ")


def no_night() -> str:
    raise AssertionError("the page shows nothing of the demo")


def program(shown: str) -> str:
    return f"Text.\n\n```python\nprint(0.5 * 3, 'new')\n```\n\n```text\n{shown}\n```\n"


def test_an_answer_that_has_changed_is_replaced() -> None:
    assert write.made(program("1.5 old"), no_night) == program("1.5 new")


def test_decimals_that_other_machines_round_otherwise_are_left_alone() -> None:
    assert write.made(program("1.51 new"), no_night) == program("1.51 new")
    assert write.made(program("1.53 new"), no_night) == program("1.5 new")


def test_a_part_that_has_changed_is_replaced() -> None:
    what = "signature tests/docs/test_outputs.py:program"
    page = f"<!-- {what} -->\n{{}}<!-- end of {what} -->\n"
    made = write.made(page.format("old\n"), no_night)
    assert "def program(shown: str) -> str:" in made and "old" not in made
    assert write.made(made, no_night) == made


def test_what_readme_shows_of_a_night_ends_with_where_the_tables_are() -> None:
    rows = "".join(f"  row{row}   0.5\n" for row in range(7))
    night = f"run 1: published\n{rows}\n  metric  mean\n{rows}\nThe tables are in w.\nThree queries\n"
    shown = write._shortened(night)
    assert (
        shown.count("row3") == 2
        and shown.count("row4") == 1
        and shown.endswith("row3   0.5\n\nThe tables are in w.\n")
    )


def test_the_file_map_has_every_module_and_folder() -> None:
    shown = file_map()
    modules = [path for package in ("flows", "tasks", "elsa_core") for path in (write.ROOT / package).rglob("*.py")]
    assert shown.count(".py ") == len([path for path in modules if path.name != "__init__.py"]) + 1  # .ci/audit.py
    assert all((write.ROOT / name).exists() for name in [*FILES, *FOLDERS])


def test_a_folder_of_sql_without_a_phrase_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(FOLDERS, "sql/checks")
    with pytest.raises(KeyError, match="sql/checks"):
        file_map()
