"""The explore page: what is published, by search and by walking; nothing else, for nobody else."""

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import httpx
import pytest
import yaml

from flows.cli import main
from tests.support.three_nights import ODD_TITLE, ODD_USER, Nights


class Page(HTMLParser):
    """Its text, its links by the text inside, and what its first list lists."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.text, self.tags, self.links, self.listed = "", [], {}, []
        self.inside: str | None = None
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.inside = dict(attributes)["href"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self.inside = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.inside is not None:
            self.links.setdefault(data, self.inside)
            if self.tags[-2:] == ["li", "a"]:
                self.listed.append(data)


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture
def tables(nights: Nights) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(nights.warehouse / "current.duckdb"), read_only=True) as connection:
        yield connection


def test_search_finds_titles_ids_and_users(client: httpx.Client) -> None:
    assert next(iter(Page(client.get("/", params={"q": "FILM 1", "part": "1"}).text).links)).startswith("Film 1")
    found = Page(client.get("/", params={"q": "12", "part": "1"}).text)
    assert found.links["User 12"] == "?user=12" and found.links["Film 12"] == "?item=12"
    assert "0 items and 0 users" in client.get("/", params={"q": "%"}).text, "signs of SQL patterns are letters"
    assert len(Page(client.get("/").text).links) == 12, "popular items to begin with"


def test_without_scripts_the_search_is_a_form(client: httpx.Client) -> None:
    page = Page(client.get("/", params={"q": "film 3"}).text)
    assert "form" in page.tags and "Film 3" in page.links


def test_a_user_has_the_published_list_and_reasons_from_their_history(
    client: httpx.Client, tables: duckdb.DuckDBPyConnection
) -> None:
    page = Page(client.get("/", params={"user": "12"}).text)
    listed = tables.execute(
        "select title from user_topk join items using (item_id) where user_id = '12' order by rank"
    )
    titles = [title for (title,) in listed.fetchall()]
    assert len(titles) == 10 and titles == [title for title in page.listed if title in titles]
    assert page.text.count("because of") == 10
    assert "13 of 13" in page.text and page.text.count("seen, does not count") == 3


def test_reasons_add_up_to_the_score(tables: duckdb.DuckDBPyConnection) -> None:
    from tasks.run.database import select, sql

    found = select(tables, sql("explore/recommendations"), {"user_id": "12", "k": 10, "n_reasons": 1000})
    history = {
        one["id"] for one in select(tables, sql("explore/history"), {"user_id": "12", "n": 1000}) if one["weight"]
    }
    for one in found:
        shares = [reason["share"] for reason in one["reasons"]]
        assert shares == sorted(shares, reverse=True) and min(shares) > 0
        assert {reason["id"] for reason in one["reasons"]} <= history
    complete = [one for one in found if len(one["reasons"]) == len(history)]
    assert complete
    for one in complete:
        assert sum(reason["share"] for reason in one["reasons"]) == pytest.approx(one["score"], abs=1e-4)


def test_an_item_leads_to_its_neighbours_and_users(client: httpx.Client, tables: duckdb.DuckDBPyConnection) -> None:
    page = Page(client.get("/", params={"item": "12"}).text)
    found = tables.execute("select neighbor_item_id from item_neighbors where item_id = 12 order by rank").fetchall()
    hrefs = list(page.links.values())
    assert [href for href in hrefs if href.startswith("?item=")] == [f"?item={item}" for (item,) in found]
    fans = [href for href in hrefs if href.startswith("?user=")]
    assert fans
    assert "Film 12" in Page(client.get("/" + fans[0]).text).links


def test_odd_ids_and_titles_are_text_and_can_be_walked(client: httpx.Client) -> None:
    found = Page(client.get("/", params={"q": "<b>", "part": "1"}).text)
    page = Page(client.get("/" + found.links[f"User {ODD_USER}"]).text)
    assert f"User {ODD_USER}" in page.text and "b" not in page.tags
    item = client.get("/", params={"q": "alert", "part": "1"}).text
    assert Page(item).links == {ODD_TITLE: "?item=7"} and "script" not in Page(item).tags


@pytest.mark.parametrize("asked", [{"user": "x' or 1=1 --"}, {"item": "x' or 1=1 --"}, {"item": "1 "}, {"user": ""}])
def test_what_there_is_not_is_said(client: httpx.Client, asked: dict) -> None:
    answer = client.get("/", params=asked)
    assert answer.status_code == 404 and "There is no such thing" in answer.text


def test_a_new_publication_is_followed_without_a_restart(client: httpx.Client, nights: Nights) -> None:
    link = nights.warehouse / "current.duckdb"
    before = link.readlink()
    assert f'id="run">{nights.run_ids[1]}<' in client.get("/").text
    published = nights.warehouse / "published" / "tomorrow.duckdb"
    shutil.copy(link, published)
    published.chmod(0o644)
    with duckdb.connect(str(published)) as connection:
        connection.execute("update run_info set run_id = 'tomorrow'; update items set title = 'New ' || title")
    flip(link, Path("published/tomorrow.duckdb"))
    page = client.get("/", params={"item": "12"}).text
    assert 'id="run">tomorrow<' in page and "New Film 12" in page
    flip(link, before)
    assert f'id="run">{nights.run_ids[1]}<' in client.get("/").text
    published.unlink()


def test_what_is_hidden_during_the_day_is_in_no_list(
    nights: Nights, tables: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    from tasks.read.explore import look_up, look_up_item, look_up_user, suggest

    (listed,) = tables.execute("select list(item_id order by rank) from user_topk where user_id = '12'").fetchone()
    neighbors = "select list(item_id) from item_neighbors where neighbor_item_id = ?"
    (near,) = tables.execute(neighbors, [listed[0]]).fetchone()
    path = tmp_path / "hidden.duckdb"
    shutil.copy(nights.warehouse / "current.duckdb", path)
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("update catalogue set is_hidden = true where item_id = ?", [listed[0]])
        shown = look_up_user(connection, "12")["recommendations"]
        assert [(one["rank"], one["id"]) for one in shown] == list(enumerate(map(str, listed[1:]), start=1))
        left = look_up_item(connection, str(near[0]))["neighbors"]
        assert [one["rank"] for one in left] == [1, 2, 3, 4] and str(listed[0]) not in [one["id"] for one in left]
        assert look_up(connection, "", None, str(listed[0]))["item"]["fans"] == []
        connection.execute("update catalogue set is_hidden = not is_hidden")
        assert [one["id"] for one in suggest(connection, "")["items"]] == [str(listed[0])]


def flip(link: Path, target: Path) -> None:
    link.with_suffix(".new").symlink_to(target)
    link.with_suffix(".new").replace(link)


def test_only_this_machine_is_served(
    client: httpx.Client,
    nights: Nights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400
    served: dict = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **options: served.update(options))
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(nights.config.model_dump(exclude_defaults=True)))
    assert main(["explore", "--port", "8999", "--config", str(tmp_path / "my.yaml")]) == 0
    assert (served["host"], served["port"]) == ("127.0.0.1", 8999)
    assert "http://127.0.0.1:8999/" in capsys.readouterr().out


def test_nothing_published_is_said_at_once(
    nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("uvicorn.run", lambda app, **options: pytest.fail("served"))
    empty = nights.config.model_copy(update={"warehouse": str(tmp_path / "empty")})
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(empty.model_dump(exclude_defaults=True)))
    assert main(["explore", "--config", str(tmp_path / "my.yaml")]) == 2
    assert "empty" in capsys.readouterr().err


def test_scripts_and_styles_are_the_pages_own(client: httpx.Client) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert "default-src 'none'" in policy and f'<script nonce="{nonce}">' in answer.text
    again = client.get("/").headers["content-security-policy"].split("script-src 'nonce-")[1].split("'")[0]
    assert len(nonce) >= 16 and nonce != again
