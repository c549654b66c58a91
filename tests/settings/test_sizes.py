"""Sizes: how they may be written, what they mean, and what DuckDB and the manifest get."""

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ByteSize, ValidationError

from tasks.run.database import connect
from tasks.run.manifest import read_manifest
from tasks.run.run import open_run
from tasks.settings.config import Config
from tasks.settings.load import read_config
from tasks.settings.section import size_text
from tests.support.worlds import config


def size_of(written: Any) -> int:
    return Config.model_validate({"recommendations": {"max_table_size": written}}).recommendations.max_table_size


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4GB", 4_000_000_000), ("50GB", 50_000_000_000), ("0.5 MiB", 524_288), ("0.1KB", 100),
        ("1.5TiB", 1_649_267_441_664),
        ("1 KiB", 1024), ("2TB", 2 * 10**12), ("0GB", 0), ("100B", 100),
    ],
)  # fmt: skip
def test_spellings_mean_what_they_say(written: Any, size: int, tmp_path: Path) -> None:
    assert size_of(written) == size
    (tmp_path / "my.yaml").write_text(f"recommendations: {{max_table_size: {written}}}")
    assert read_config(tmp_path / "my.yaml").recommendations.max_table_size == size


@pytest.mark.parametrize(
    "written",
    ["", "lots", "GB", "5.5.5GB", "4GB, or less", "4 G B", "1e3MB", "-4GB", "4XB", "9" * 5000 + "GB",
     "4Gbit", "4G", "4gb", "4Gb", "4KIB", "4  GB", "0.5B", "100", "123456789",
     100, 50, 0, -4, 4.5, True, None, ["4GB"]],
)  # fmt: skip
def test_anything_else_is_an_error_with_examples(written: Any) -> None:
    with pytest.raises(ValidationError) as error:
        size_of(written)
    assert [one["type"].startswith("byte_size") for one in error.value.errors()] == [True]


@pytest.mark.parametrize(
    ("size", "text"),
    [(4 * 10**9, "4GB"), (524_288, "512KiB"), (2**40, "1TiB"), (1500 * 10**6, "1500MB"), (123, "123B"), (0, "0B")],
)
def test_a_size_is_said_in_its_largest_whole_unit(size: int, text: str) -> None:
    assert size_text(ByteSize(size)) == text
    assert size_of(text) == size


@pytest.mark.parametrize("written", ["4GB", "0.5GiB", "1GiB", "50MB", "123456789B", "1.5 GB", "3TiB"])
def test_duckdb_gets_the_same_number_of_bytes(written: str, world: Path) -> None:
    own = config(memory_limit=written)
    with connect(":memory:", own) as connection:
        ((said,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    number, unit = re.fullmatch(r"([\d.]+) (\w+)", said).groups()
    assert float(number) * ByteSize.byte_sizes[unit.lower()] == pytest.approx(own.memory_limit, rel=0.1)
    with duckdb.connect(config={"memory_limit": size_text(own.memory_limit)}) as other:  # as Great Expectations does
        assert other.execute("select current_setting('memory_limit')").fetchall() == [(said,)]


@pytest.mark.usefixtures("without_prefect")
def test_the_manifest_keeps_a_readable_size_and_equal_sizes_are_equal_configurations(world: Path) -> None:
    with open_run(config(memory_limit="4000 MB", recommendations={"max_table_size": "0.5 MiB"})) as run:
        kept = read_manifest(run.files.folder).config
    assert (kept["memory_limit"], kept["recommendations"]["max_table_size"]) == ("4GB", "512KiB")
    assert kept == run.config.model_dump(mode="json") == json.loads(run.config.model_dump_json())
    assert Config.model_validate(kept) == run.config
    same = config(memory_limit="4GB", recommendations={"max_table_size": "524288B"})
    assert same.model_dump(mode="json") == kept


def test_sizes_of_earlier_manifests_that_are_written_plainly_are_equal_to_ours() -> None:
    for text in ("50GB", "1KB", "500MB", "2TB", "512MiB"):
        own = Config.model_validate({"recommendations": {"max_table_size": text}})
        assert own.model_dump(mode="json")["recommendations"]["max_table_size"] == text
