"""elsa init: a configuration from the columns of files, for a person to look through."""

import os
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from flows.cli import main
from tasks.data.ingest import ingest
from tasks.data.sources.propose import TEMPLATE, fill, propose
from tasks.errors import InputError
from tasks.run.run import open_run
from tasks.settings.load import read_config

KEYS = ("user_id", "item_id", "timestamp", "value", "event_type")
FILES = {  # a header, a row, and the columns for user, item, time, value and kind of event
    "userId,movieId,rating,timestamp\n1,31,2.5,1260759144": ("userId", "movieId", "timestamp", "rating", None),
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom": (
        "CustomerID", "StockCode", "InvoiceDate", "Quantity", None),
    "order_id,user_id,product_id,add_to_cart_order,reordered,days_since_prior_order\n1,112,4930,1,1,15.0": (
        "user_id", "product_id", None, None, None),
    "uid,sku,ts\nann,a1,1600000000123": ("uid", "sku", "ts", None, None),
    "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,": (
        "visitorid", "itemid", "timestamp", None, "event"),
    "event_time,event_type,product_id,category_id,brand,price,user_id,user_session\n"
    "2019-10-01 00:00:00 UTC,view,4480,2103,shiseido,35.79,5413,72d7": (
        "user_id", "product_id", "event_time", None, "event_type"),
    "Kundennummer;Artikelnr;Bestelldatum;Menge\n7;a;2026-01-31;2": (
        "Kundennummer", "Artikelnr", "Bestelldatum", "Menge", None),
    "Nutzer,Produkt,Zeit,Bewertung\n7,8,2026-01-31,2": ("Nutzer", "Produkt", "Zeit", "Bewertung", None),
    "id_client,id_produit,date,quantité\n7,8,2026-01-31,2": ("id_client", "id_produit", "date", "quantité", None),
    "id_uzivatele,kod_zbozi,cas,hodnoceni\n7,8,2026-01-31,2": (
        "id_uzivatele", "kod_zbozi", "cas", "hodnoceni", None),
    "usuario,producto,fecha,cantidad\n7,8,2026-01-31,2": ("usuario", "producto", "fecha", "cantidad", None),
    "reviewerID,asin,overall,unixReviewTime,reviewText\nA1,B0,5.0,1393545600,good": (
        "reviewerID", "asin", "unixReviewTime", "overall", None),
    "rating,title,asin,parent_asin,user_id,timestamp\n5.0,good,B0,B1,A1,1588687728923": (
        "user_id", "asin", "timestamp", "rating", None),
    "item_name,item,user_name,user,user_age\nfilm,1,Ann,2,33": ("user", "item", None, None, None),
    "app_user_key,external item id,created_at,behavior_type,user_rating\n1,2,2026-01-31,1,x": (
        "app_user_key", "external item id", "created_at", None, "behavior_type"),
    "session_id,item_id,timestamp\n1,2,2014-04-07T10:51:09.277Z": ("session_id", "item_id", "timestamp", None, None),
    "uid,deck_code,played\n1,2,2026-01-31 10:00:00": ("uid", "deck_code", "played", None, None),
    "order_id,product_id\n1,2": ("TODO", "product_id", None, None, None),
    "a,b,c\n1,2,3": ("TODO", "TODO", None, None, None),
    "196,242,3,881250949\n186,302,3,891717742": ("TODO", "TODO", None, None, None),
    "user_id,item_id,timestamp,rating\n": ("user_id", "item_id", "timestamp", None, None),
    "user_id,product,timestamp\n1.5,a,yesterday": ("TODO", "product", "timestamp", None, None),
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", FILES, ids=lambda text: text.split("\n")[0][:30])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_are_found_by_name_and_values(text: str, form: str) -> None:
    Path("events.csv").write_text(text)
    if form == "parquet":
        duckdb.sql("copy (from read_csv('events.csv', header = true)) to 'events.parquet'")
    assert main(["init", f"events.{form}"]) == 0
    found = read_config(Path("my.yaml")).source
    assert tuple(getattr(found.columns, key) for key in KEYS) == FILES[text]
    assert found.events == f"events.{form}" and found.items is None
    assert bool(found.ids.strip_decimal) == ("17850.0" in text)


def test_what_could_not_be_told_is_said_with_the_columns(capfd: pytest.CaptureFixture) -> None:
    Path("events.csv").write_text("a,b,c\n1,2,3")
    assert main(["init", "events.csv", "--out", "shop.yaml"]) == 0
    shown = capfd.readouterr().out
    assert "events.csv: a, b, c" in shown and "source.columns.user_id, source.columns.item_id" in shown
    assert "  elsa ingest --config shop.yaml" in shown and "  elsa nightly --config shop.yaml" in shown
    text = Path("shop.yaml").read_text()
    assert text.count("TODO: name the column") == 2 and "there are in events.csv: a, b, c" in text
    assert read_config(Path("shop.yaml")).warehouse == "warehouse/shop"
    Path("bare.csv").write_text("196,242\n186,302")
    assert main(["init", "bare.csv", "--out", "bare.yaml"]) == 0
    assert "is there a line with the names of the columns?" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("session_id,item\n1,2", "sessions are no persons: such as 1"),
        ("user,item,date\n1,2,1 Dec 2010", "neither ISO text nor a Unix epoch; timestamp_format says how"),
        ("user,item,quantity\n1,2,-3", "some are negative"),
        ("user,deck_code\n1,2", "its name does not tell: such as 2"),
    ],
)
def test_what_is_doubtful_is_to_be_checked(text: str, doubt: str) -> None:
    Path("events.csv").write_text(text)
    assert f"CHECK, {doubt}" in propose(["events.csv"], None, Path("my.yaml")).text
    assert "TODO" not in propose(["events.csv"], None, Path("my.yaml")).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("movieId,title,genres\n31,Heat,Crime", ("movieId", "title", "genres")),
        ("id,name,price\n31,Heat,5", ("id", "name", None)),
        ("product_id,product_name,aisle_id,department\n31,Heat,5,x", ("product_id", "product_name", "department")),
        ("Artikelnr,Bezeichnung,Kategorie\n31,Heat,x", ("Artikelnr", "Bezeichnung", "Kategorie")),
        ("a,b\n31,Heat", ("TODO", "TODO", None)),
    ],
)
def test_item_metadata_is_mapped_too(text: str, expected: tuple) -> None:
    Path("events.csv").write_text("user,movieId\n1,31")
    Path("items.csv").write_text(text)
    assert main(["init", "events.csv", "--items", "items.csv"]) == 0
    items = read_config(Path("my.yaml")).source.items
    assert (items.path, (items.item_id, items.title, items.category)) == ("items.csv", expected)


def test_nothing_is_overwritten_and_what_cannot_be_read_is_said(capfd: pytest.CaptureFixture) -> None:
    Path("events.csv").write_text("user,item\n1,2")
    Path("my.yaml").write_text("mine")
    assert main(["init", "events.csv"]) == 2
    assert "--out my.yaml exists already" in capfd.readouterr().err
    assert Path("my.yaml").read_text() == "mine"
    Path("broken.parquet").write_text("no")
    Path("other.csv").write_text("x,y\n1,2")
    for files, said in [
        (["nowhere.csv"], "no such file: nowhere.csv"),
        (["broken.parquet"], "broken.parquet cannot be read"),
        (["events.csv", "other.csv"], "no column in common"),
        (["events.csv", "--out", "no/my.yaml"], "--out no/my.yaml cannot be made: No such file"),
    ]:
        assert main(["init", *files, *(["--out", "new.yaml"] if "--out" not in files else [])]) == 2
        assert said in capfd.readouterr().err
    assert not Path("new.yaml").exists()


def test_several_files_need_the_columns_that_all_have() -> None:
    Path("1.csv").write_text("user,item,at,rating\n1,2,2026-01-01,5")
    Path("2.csv").write_text("user,item,rating\n1,2,5")
    source = yaml.safe_load(propose(["1.csv", "2.csv"], None, Path("my.yaml")).text)["source"]
    assert source == {
        "events": ["1.csv", "2.csv"],
        "columns": {"user_id": "user", "item_id": "item", "value": "rating"},
    }
    assert yaml.safe_load(propose(["*.csv"], None, Path("my.yaml")).text)["source"]["events"] == "*.csv"


@pytest.mark.parametrize(
    "name", ["0", "yes", "user: id", "user #1", "us'er \"id", "user\u2028id", "uživatel", "null"]
)
def test_odd_names_stay_what_they_are(name: str) -> None:
    pl.DataFrame({name: ["1"], "item_id": ["2"], "user_id": ["x: y # {\u2028\n- z"]}).write_parquet(
        "odd, name.parquet"
    )
    text = propose(["odd, name.parquet"], "odd, name.parquet", Path("a b's.yaml")).text
    Path("my.yaml").write_text(text)
    config = read_config(Path("my.yaml"))
    assert config.source.events == "odd, name.parquet" and config.warehouse == "warehouse/a-b-s"
    Path("my.yaml").write_text(fill(TEMPLATE.read_text(), {"source.columns.user_id": (name, name)}))
    assert read_config(Path("my.yaml")).source.columns.user_id == name


def test_text_that_is_not_utf_8_is_noticed() -> None:
    Path("events.csv").write_bytes("user,item\nJos\u00e9,2".encode("latin-1"))
    assert yaml.safe_load(propose(["events.csv"], None, Path("my.yaml")).text)["source"]["csv"] == {
        "encoding": "latin-1"
    }


@pytest.mark.parametrize(
    ("written", "form", "is_sure"),
    [
        (["12/1/2010 8:26", "12/31/2010 9:00"], "%m/%d/%Y %H:%M", True),
        (["12/1/2010 8:26"], "%d/%m/%Y %H:%M", False),
        (["31.12.24"], "%d.%m.%y", True),
        (["12/31/2010 08:26:00 PM"], "%m/%d/%Y %I:%M:%S %p", True),
    ],
)
def test_how_times_are_written_is_proposed(written: list[str], form: str, is_sure: bool) -> None:
    Path("events.csv").write_text("user,item,date\n" + "".join(f"1,2,{one}\n" for one in written))
    text = propose(["events.csv"], None, Path("my.yaml")).text
    assert yaml.safe_load(text)["source"]["columns"]["timestamp_format"] == form
    assert ("the day or the month first?" in text) is not is_sure


@pytest.mark.parametrize("end", ["json", "parquet"])
def test_a_basket_is_a_column_of_items(end: str) -> None:
    frame = pl.DataFrame({"customer": [1, 2], "items": [["a", "b"], []]})
    frame.write_json("events.json") if end == "json" else frame.write_parquet("events.parquet")
    columns = yaml.safe_load(propose([f"events.{end}"], None, Path("my.yaml")).text)["source"]["columns"]
    assert columns == {"user_id": "customer", "item_id": "items"}


def test_utf_16_is_noticed() -> None:
    Path("events.csv").write_bytes("user,item\nJosé,2\n".encode("utf-16"))
    source = yaml.safe_load(propose(["events.csv"], None, Path("my.yaml")).text)["source"]
    assert source["csv"] == {"encoding": "utf-16"}


def test_the_template_names_existing_keys_and_sets_next_to_nothing(here: Path) -> None:
    text = TEMPLATE.read_text()
    assert set(yaml.safe_load(text)) == {"warehouse", "source"}
    keys: dict[str, tuple[Any, str]] = {"source.events": ("x.csv", ""), "source.ids.strip_decimal": (True, "")}
    keys |= {f"source.columns.{key}": ("x", "") for key in KEYS}
    keys |= {f"source.items.{key}": ("x", "") for key in ("path", "item_id", "title", "category")}
    keys |= {"source.csv.encoding": ("latin-1", "")}
    filled = yaml.safe_load(fill(text, keys))["source"]
    assert filled["columns"] == dict.fromkeys(KEYS, "x") and len(filled["items"]) == 4
    uncommented = "\n".join(
        line.replace("# ", "", 1) if line.startswith("# ") and ":" in line.split("#")[1] else line
        for line in fill(text, keys).splitlines()[2:]
    )
    Path("all.yaml").write_text(uncommented)
    config = read_config(Path("all.yaml"))
    assert config.interactions.event_values and config.recommendations.k == 100 and config.gate.minimums


@pytest.mark.usefixtures("without_prefect")
def test_what_init_makes_takes_events_in(world: Path) -> None:
    os.chdir(world)
    assert main(["init", "data/ratings.parquet", "--items", "data/movies.parquet"]) == 0
    with open_run(read_config(Path("my.yaml"))) as run:
        events = ingest.fn(run)
    assert events.n_events == len(pl.read_parquet("data/ratings.parquet")) and run.warehouse.path.name == "my"


def test_databases_are_for_a_person_to_describe() -> None:
    Path("events.duckdb").write_text("x")
    with pytest.raises(InputError, match="reads no databases; copy config/template.yaml"):
        propose(["events.duckdb"], None, Path("my.yaml"))
