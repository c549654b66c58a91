"""The report of a run: the verdict first, everything in one file, whatever came of the night."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows.cli import main
from flows.nightly import nightly
from tasks.errors import InputError
from tasks.read.explore import look_up_item, look_up_user
from tasks.report import charts as pictures
from tasks.report import report
from tasks.report.facts import _lead, collect_facts
from tasks.report.report import find_report, write_report
from tasks.run.database import connect
from tasks.run.manifest import Manifest, read_manifest, write_manifest
from tasks.run.run import Run, open_run
from tests.support.plain_nights import plain_night
from tests.support.three_nights import ODD_TITLE, ODD_USER, Nights
from tests.support.worlds import config

PUBLISHED, AGAIN, REJECTED = range(3)


BLOCKS = {"td", "th", "tr", "small", "li", "p", "h1", "h2", "h3", "h4", "dt", "dd", "br", "div"}


class Page(HTMLParser):
    """A report as a browser reads it: its text, its tags, and every value that could make it load something."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags, self.loads, self.ids = "", [], [], []
        self.feed(path.read_text())
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " " if tag in BLOCKS else ""
        self.loads += [
            value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")
        ]
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def rewritten(nights: Nights, place: int) -> Page:
    """The report rebuilt, after something in the run's folder was changed."""
    (nights.folder(place) / "report.html").unlink()
    return Page(find_report(nights.config, nights.run_ids[place]))


def test_a_published_night(nights: Nights) -> None:
    page = Page(nights.folder(AGAIN) / "report.html")
    assert re.search(r"Published The model passed every check of the gate", page.text)
    for words in (
        "What changed", f"Beside run {nights.run_ids[PUBLISHED]}", "Metrics", "The gate", "vs. popularity",
        "The last 2 nights", "Training loss", "nDCG of the validation users", "Validation", "events_are_unique()",
        "Drift of the new events", "gini", "Share of the catalogue", "How much goes to what is popular",
        "Scores of the personal lists", "Five users", "because of", "Five items", "Configuration", "batch_size: 64",
    ):  # fmt: skip
        assert words in page.text, words
    assert page.tags.count("article") == 10
    assert "Drift is judged from 7 nights with new events on." in page.text
    assert page.tags.count("svg") == 9, "none of bands, which there are not yet"


def test_it_is_one_file_that_loads_nothing_and_runs_nothing(nights: Nights) -> None:
    for place in (PUBLISHED, AGAIN, REJECTED):
        path = nights.folder(place) / "report.html"
        page = Page(path)
        assert path.stat().st_size < 1_000_000
        assert not {"script", "iframe", "object"} & set(page.tags)
        assert all(value.startswith(("#", "data:")) for value in page.loads)
        assert "@import" not in path.read_text() and "url(http" not in path.read_text()
        anchors = {value[1:] for value in page.loads if value.startswith("#")}
        assert anchors <= set(page.ids), "every anchor has its place"
        assert len(page.ids) == len(set(page.ids)), "ids of pictures are their own"


def test_numbers_are_those_of_the_run(nights: Nights) -> None:
    page = Page(nights.folder(AGAIN) / "report.html")
    for row in pl.read_parquet(nights.folder(AGAIN) / "metrics.parquet").to_dicts():
        form = "{:.2f}" if row["metric"] == "novelty" else "{:.4f}"
        value, low, high = (form.format(row[part]) for part in ("value", "low", "high"))
        assert f"{value} {low} – {high}" in page.text, row
    for verdict in read_manifest(nights.folder(AGAIN)).stages["gate"]["checks"]:
        assert verdict.split(": ", 1)[1] in page.text
    (row,) = pl.read_parquet(nights.folder(AGAIN) / "drift.parquet").filter(metric="active_users").to_dicts()
    assert f"active users not judged yet {row['value']:g} – –" in page.text
    n_events = read_manifest(nights.folder(AGAIN)).stages["ingest"]["n_events"]
    assert f"events {n_events:,} {n_events - 600:,} +600" in page.text


def test_a_rejected_night_says_why_and_what_is_left_out(nights: Nights) -> None:
    page = Page(nights.folder(REJECTED) / "report.html")
    assert f"Rejected Nothing was published, and readers keep the tables of run {nights.run_ids[AGAIN]}." in page.text
    assert "required at least 1.1" in page.text and "✗ failed" in page.text
    assert "so no lists were made of it" in page.text
    assert "Five users" not in page.text and "Share of the catalogue" not in page.text
    assert "gate.minimums.ndcg@10 1.1 null" in page.text, "the key that changed"
    assert "There were no new events" in page.text


def test_titles_and_ids_are_text(nights: Nights) -> None:
    path = nights.warehouse / "published" / f"{nights.run_ids[PUBLISHED]}.duckdb"
    with connect(path, nights.config, read_only=True) as connection:
        odd = look_up_user(connection, ODD_USER)
        item = look_up_item(connection, "7")
    facts = collect_facts(Run(nights.config, nights.run_ids[PUBLISHED]))
    facts["lists"]["users"], facts["lists"]["items"] = [odd], [item]
    facts["manifest"].reasons = [ODD_TITLE]
    path = report._write(Run(nights.config, nights.run_ids[PUBLISHED]), facts)
    page = Page(path)
    assert f"User {ODD_USER}" in page.text and page.text.count(ODD_TITLE) >= 2
    assert "script" not in page.tags and "b" not in page.tags


def test_a_night_that_failed_gets_what_there_is(nights: Nights) -> None:
    with pytest.raises(RuntimeError), open_run(nights.config) as run:
        raise RuntimeError("the <disk> is full")
    page = Page(find_report(nights.config, run.run_id))
    assert "Failed The run stopped before its first stage was finished" in page.text
    assert "RuntimeError: the <disk> is full" in page.text
    assert "did not come to an evaluation" in page.text
    shutil.rmtree(run.files.folder)


def test_what_became_of_a_run_is_said_as_it_was(nights: Nights) -> None:
    manifest = read_manifest(nights.folder(AGAIN))
    forced = [{"name": "forced"}]
    start = manifest.started_at

    def but(**changes: object) -> Manifest:
        return manifest.model_copy(update=changes)

    assert _lead(manifest, []) == "The model passed every check of the gate, and readers got its tables."
    assert "Published all the same" in _lead(but(reasons=["worse", "forced"]), forced)
    assert _lead(but(reasons=["OSError: full"]), []).endswith("Afterwards something went wrong:")
    for status in ("crashed", "cancelled", "failed"):
        assert _lead(but(status=status), []) == "The run stopped after publish. Nothing was published."
    assert "ended without a word" in _lead(but(status="died"), [])
    resumed = but(status="failed", started_at="2999" + start[4:], is_resumed=True)
    assert "before its first stage was finished" in _lead(resumed, []) and "earlier attempts" in _lead(resumed, [])
    assert "is at work; publish is done" in _lead(but(status="running"), [])
    assert "keep the tables of run X." in _lead(but(status="rejected", replaces="X"), [])


def test_a_night_is_put_beside_what_readers_had(nights: Nights) -> None:
    manifest = read_manifest(nights.folder(REJECTED))
    after_a_rollback = manifest.model_copy(update={"replaces": nights.run_ids[PUBLISHED]})
    write_manifest(nights.folder(REJECTED), after_a_rollback)
    page = rewritten(nights, REJECTED)
    write_manifest(nights.folder(REJECTED), manifest)
    assert f"Beside run {nights.run_ids[PUBLISHED]}" in page.text


def test_a_run_without_the_compared_metric_does_not_spoil_the_others(nights: Nights) -> None:
    odd = nights.warehouse / "runs" / "20190101T030000_000000"
    shutil.copytree(nights.folder(PUBLISHED), odd)
    write_manifest(odd, read_manifest(odd).model_copy(update={"run_id": odd.name, "status": "failed"}))
    metrics = pl.read_parquet(odd / "metrics.parquet")
    metrics.filter(pl.col("model") == "popularity").write_parquet(odd / "metrics.parquet")
    page = rewritten(nights, AGAIN)
    shutil.rmtree(odd)
    assert "The last 2 nights" in page.text


def test_a_report_is_of_how_the_run_stands(nights: Nights) -> None:
    with open_run(nights.config) as run:
        assert "Failed" not in Page(find_report(nights.config, run.run_id)).text
    died = find_report(nights.config, run.run_id)
    assert "Died" in Page(died).text, "what was made while it ran is not served forever"
    with pytest.raises(RuntimeError), open_run(nights.config, resume=run.run_id):
        raise RuntimeError("the second end")
    assert "RuntimeError: the second end" in Page(find_report(nights.config, run.run_id)).text
    made = died.stat().st_mtime_ns
    assert find_report(nights.config, run.run_id).stat().st_mtime_ns == made, "what is true is not rebuilt"
    shutil.rmtree(run.files.folder)


def test_what_stages_took_is_shown_where_it_was_measured(nights: Nights) -> None:
    path = nights.folder(REJECTED) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"measured": {}}))
    assert "Timings" not in rewritten(nights, REJECTED).text
    measured = {
        "ingest": {"seconds": 12.25, "peak_bytes": 300_000_000, "rows": 3711},
        "train": {"seconds": 70.5, "peak_bytes": None, "rows": None},
    }
    measured = {stage: row | {"finished_at": manifest["started_at"]} for stage, row in measured.items()}
    path.write_text(json.dumps(manifest | {"measured": measured}))
    page = rewritten(nights, REJECTED)
    path.write_text(json.dumps(manifest))
    assert "ingest 12.2 300.0 MB 3,711 train 70.5 – –" in page.text
    assert "83 s in all, 70 s of them in train" in page.text


def test_the_history_is_of_the_last_30_nights(nights: Nights) -> None:
    made = [nights.warehouse / "runs" / f"201901{day:02}T030000_000000" for day in range(1, 32)]
    for folder in made:
        shutil.copytree(nights.folder(PUBLISHED), folder)
        write_manifest(folder, read_manifest(folder).model_copy(update={"run_id": folder.name, "status": "rejected"}))
    page = rewritten(nights, AGAIN)
    for folder in made:
        shutil.rmtree(folder)
    assert "The last 30 nights" in page.text and f"{made[-1].name} rejected" in page.text
    assert made[2].name not in page.text, "the 31st and older ones"


def test_checks_of_segments_are_named(nights: Nights) -> None:
    path = nights.folder(REJECTED) / "gate_checks.parquet"
    before = pl.read_parquet(path)
    before.with_columns(segment=pl.lit("newcomers"), n_users=pl.lit(12)).write_parquet(path)
    page = rewritten(nights, REJECTED)
    before.write_parquet(path)
    assert "minimum, newcomers" in page.text


def test_it_needs_no_engine(nights: Nights) -> None:
    assert write_report.fn(Run(nights.config, nights.run_ids[REJECTED])) == nights.folder(REJECTED) / "report.html"


@pytest.mark.usefixtures("prefect_server")
def test_prefect_has_the_verdict_the_metrics_and_the_way_to_the_report(nights: Nights) -> None:
    from prefect.client.orchestration import get_client

    run_id = nightly(nights.rejecting).run_id
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/latest/filter").json()
    artifacts = {one["key"]: one["data"] for one in found}
    assert f"**Rejected**: run {run_id}" in artifacts["verdict"]
    assert "at least 1.1" in artifacts["verdict"]
    assert json.loads(artifacts["metrics"])[0]["metric"] == "ndcg"
    folder = nights.warehouse / "runs" / run_id
    assert (folder / "report.html").as_uri() in artifacts["report"]
    shutil.rmtree(folder)


@pytest.mark.usefixtures("prefect_server")
def test_a_report_that_fails_does_not_undo_a_night(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(run: Run) -> dict:
        raise RuntimeError("no report")

    monkeypatch.setattr(report, "collect_facts", break_down)
    state = nightly(nights.rejecting, return_state=True)
    run_id = state.result().run_id
    assert state.name == "Rejected"
    assert read_manifest(nights.warehouse / "runs" / run_id).status == "rejected"
    shutil.rmtree(nights.warehouse / "runs" / run_id)


def test_the_command(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.delenv("DISPLAY", raising=False)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(nights.config.model_dump(exclude_defaults=True)))
    options = ["--config", str(tmp_path / "my.yaml")]
    assert main(["report", *options]) == 0
    newest = nights.folder(REJECTED) / "report.html"
    assert capsys.readouterr().out == f"{newest}\n" and not opened
    monkeypatch.setenv("DISPLAY", ":0")
    assert main(["report", nights.run_ids[PUBLISHED], *options]) == 0
    assert opened == [(nights.folder(PUBLISHED) / "report.html").as_uri()]
    assert main(["report", "20000101T000000_000000", *options]) == 2
    assert "there is no run 20000101T000000_000000" in capsys.readouterr().err


def test_without_runs_the_command_says_so(tmp_path: Path, nights: Nights) -> None:
    empty = nights.config.model_copy(update={"warehouse": str(tmp_path)})
    with pytest.raises(InputError, match="has no runs yet"):
        find_report(empty, None)


@pytest.mark.usefixtures("without_engine")
def test_ease_has_a_report_too(world: Path) -> None:
    policy = {"policy_type": "ease", "ease_ridge": [10.0, 100.0]}
    outcome = plain_night(config(policy_configs={"scoring_policy": policy}), has_report=True)
    page = Page(world / "warehouse" / "runs" / outcome.run_id / "report.html")
    assert "ease this run" in page.text and "What the validation users chose from" in page.text
    assert "Training loss" not in page.text and "Five users" in page.text
    assert "Readers had no tables before" in page.text


def test_the_picture_of_drift_shows_what_is_outside() -> None:
    rows = [
        {"metric": "events", "value": 10.0, "low": 0.0, "high": 20.0},
        {"metric": "gini", "value": 0.9, "low": 0.0, "high": 0.5},
        {"metric": "psi", "value": 0.0, "low": 0.0, "high": 0.0},
    ]
    picture = pictures.drift(rows)
    assert picture.caption == "Outside their bands: gini."
    assert "<svg" in picture.svg and all(name in picture.svg for name in ("events", "gini", "psi"))
