"""What README.md and docs/ show of the program is written by the program: `make docs`. The tests compare the same.

A page is made from itself; what stands in it as an answer is replaced where the answer has changed:
    ```console           lines `$ elsa …` or `$ make nightly`, each with its output below, on the published demo
    ```sql, ```text      a query, and its result on the published demo
    ```python, ```text   a program, and what it prints
    <!-- KIND WHAT -->   up to <!-- end of KIND WHAT -->: what PARTS[KIND] makes of WHAT
FILES are pages that are made as a whole.
"""

import ast
import io
import math
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

import duckdb

from tasks.data.expectations import INSTEAD, WORKING
from tasks.publish.document import document
from tests.docs.file_map import file_map

ROOT = Path(__file__).parents[2]
RUN_ID = re.compile(r"\d{8}T\d{6}_\d{6}")
DECIMAL = re.compile(r"\d+\.\d+")
CODE = re.compile(r"```(sql|python)\n((?:(?!```).)*)```\n\n```text\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def publish_demo() -> str:
    """Runs the demo's night in the working directory and returns what it printed."""
    from tasks.data.demo import write_demo_data

    write_demo_data(Path("data/movielens"))
    return elsa("nightly")


N_ROWS = 4  # of each table in what README shows of a night


def elsa(*arguments: str) -> str:
    """What the command prints on standard output for the demo, with names that are the same everywhere."""
    from flows.cli import main

    settings = {"COLUMNS": "100", "ELSA_CONFIG": str(ROOT / "config" / "movielens.yaml")}
    with patch.dict(os.environ, settings), redirect_stdout(io.StringIO()) as shown:
        main(arguments)
    text = RUN_ID.sub("20261128T030000_000000", shown.getvalue())
    return _stripped(text.replace(str(Path(sys.executable).with_name("duckdb")), ".venv/bin/duckdb"))


def commands() -> str:
    """The page of the command line: the help of `elsa` and of each of its commands."""
    from flows.cli import COMMANDS

    names = [command.__name__ for group in COMMANDS.values() for command in group]
    shown = "\n".join(f"## elsa {name}\n\n```text\n{elsa(name, '--help')}```\n" for name in names)
    return f"# Every command and option of elsa\n\n```text\n{elsa('--help')}```\n\n{shown}"


def configuration() -> str:
    """The page of the configuration's keys."""
    from tasks.settings.reference import markdown

    return markdown()


def source(where: str, is_short: bool = False) -> str:
    """The source of a function, path:name, or only what stands before its code, the docstring included."""
    path, name = where.split(":")
    text = (ROOT / path).read_text()
    (function,) = (node for node in ast.parse(text).body if getattr(node, "name", None) == name)
    first = min(node.lineno for node in (function, *function.decorator_list))
    last = function.body[0].end_lineno if is_short else function.end_lineno
    return "```python\n" + "\n".join(text.splitlines()[first - 1 : last]) + "\n```\n"


def instead() -> str:
    """What to use for each expectation that DuckDB cannot evaluate, as a table."""
    rows = "".join(f"| `{name}` | `{other}` |\n" for name, other in INSTEAD.items())
    return f"| Expectation | Use |\n| --- | --- |\n{rows}"


FILES: dict[str, Callable[[], str]] = {
    "docs/commands.md": commands,
    "docs/configuration.md": configuration,
    "docs/tables.md": document,
}
PARTS: dict[str, Callable[[str], str]] = {
    "file map": lambda _: file_map(),
    "source": source,
    "signature": lambda where: source(where, is_short=True),
    "expectations that work": lambda _: "\n".join(f"- `{name}`" for name in WORKING) + "\n",
    "expectations to replace": lambda _: instead(),
}
PART = re.compile(rf"<!-- ({'|'.join(PARTS)})( \S+)? -->\n.*?<!-- end of .*? -->\n", re.DOTALL)


def pages() -> list[str]:
    """README.md and the pages of docs/ that are written by hand around their outputs."""
    found = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    return [name for name in found if name not in FILES]


def made(text: str, night: Callable[[], str]) -> str:
    """The page with every answer in it up to date.

    `night` returns what the demo's night printed, whose tables are then in the working directory; it is called only
    where the page shows something of it.
    """
    text = PART.sub(_part, text)
    text = CODE.sub(lambda found: _code(found, night), text)
    return CONSOLE.sub(
        lambda found: f"```console\n{COMMAND.sub(lambda one: _command(one, night), found[1])}```", text
    )


def _part(found: re.Match) -> str:
    kind, what = found[1], found[2] or ""
    return f"<!-- {kind}{what} -->\n{PARTS[kind](what.strip())}<!-- end of {kind}{what} -->\n"


def _code(found: re.Match, night: Callable[[], str]) -> str:
    kind, code, shown = found.groups()
    if kind == "sql":
        night()
    answer = _rows(code) if kind == "sql" else _output(code)
    return f"```{kind}\n{code}```\n\n```text\n{_newer(shown, answer)}```"


def _command(found: re.Match, night: Callable[[], str]) -> str:
    line, shown = found.groups()
    program, *arguments = shlex.split(line.removeprefix(".venv/bin/"))
    printed_by_night = night()
    answer = _shortened(printed_by_night) if [program, *arguments] == ["make", "nightly"] else elsa(*arguments)
    return f"$ {line}\n{_newer(shown, answer)}"


def _rows(query: str) -> str:
    *before, last = query.split(";\n")[:-1]
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        for statement in before:
            connection.execute(statement)
        with redirect_stdout(io.StringIO()) as shown:
            connection.sql(last).show(max_width=118)
    return _stripped(shown.getvalue())


def _output(program: str) -> str:
    with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(io.StringIO()) as shown:
        exec(compile(program, "the page's program", "exec"), {})
    return _stripped(shown.getvalue())


def _stripped(text: str) -> str:
    return re.sub(r" +$", "", text.strip("\n"), flags=re.MULTILINE) + "\n"


def _newer(shown: str, answer: str) -> str:
    return shown if is_same(shown, answer) else answer


def is_same(shown: str, answer: str) -> bool:
    """Whether two texts agree, decimals to a hundredth: other machines round otherwise."""
    shape, other = (re.sub(r" +", " ", DECIMAL.sub("#", text)) for text in (shown, answer))
    pairs = zip(DECIMAL.findall(shown), DECIMAL.findall(answer), strict=False)
    return shape == other and all(math.isclose(float(a), float(b), rel_tol=0.01, abs_tol=0.01) for a, b in pairs)


def _shortened(night: str) -> str:
    """Up to where the tables are; of each table the first rows."""
    night = night[: re.search(r"^The tables are in .*\n", night, re.MULTILINE).end()]
    return re.sub(rf"^(  (?:metric|model) .*\n(?:  .*\n){{{N_ROWS}}})(?:  .*\n)+", r"\1", night, flags=re.MULTILINE)


def main() -> None:
    """Writes all of them, with a demo of its own in a temporary folder."""
    for name, page in FILES.items():
        (ROOT / name).write_text(page())
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        night = cache(publish_demo)
        for name in pages():
            (ROOT / name).write_text(made((ROOT / name).read_text(), night))


if __name__ == "__main__":
    main()
