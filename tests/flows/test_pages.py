"""The report and the explore page in a real browser, which looks at what a person would see."""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.three_nights import ODD_TITLE, Nights

pytest.importorskip("playwright", reason="needs the extra `pages`: make test-pages")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: make test-pages installs it where apt can"),
]

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = {"desktop": 1280, "phone": 390}
LIGHT = "rgb(255, 255, 255)"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """Opens a page at a width and in a scheme; afterwards, nothing has complained and nothing went elsewhere."""
    contexts, complaints, requests = [], [], []

    def opened(url: str, width: str = "desktop", scheme: str = "light") -> "Page":
        context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
    assert requests and not [url for url in requests if not url.startswith(("file:", "data:", "http://127.0.0.1:"))]


def serious_findings(page: "Page") -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def is_as_wide_as_the_screen(page: "Page") -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("place", [1, 2], ids=["published", "rejected"])
def test_the_report_can_be_read(
    nights: Nights, open_page: "Callable[..., Page]", place: int, width: str, scheme: str
) -> None:
    page = open_page((nights.folder(place) / "report.html").as_uri(), width, scheme)
    assert page.get_by_role("heading", level=1).inner_text() == ("Published", "Rejected")[place - 1]
    assert is_as_wide_as_the_screen(page)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.get_by_text("batch_size: 64").is_visible()
    assert serious_findings(page) == []
    background, ink, quiet, drawn = page.evaluate("""() => {
        const body = getComputedStyle(document.body), small = getComputedStyle(document.querySelector("small"));
        const words = [...document.querySelectorAll("figure svg text")].map((text) => getComputedStyle(text).fill);
        return [body.backgroundColor, body.color, small.color, words];
    }""")
    assert (background == LIGHT) == (scheme == "light")
    assert set(drawn) == {ink, quiet}, "what is drawn follows the scheme"


def test_pictures_have_marks_in_them(nights: Nights, open_page: "Callable[..., Page]") -> None:
    page = open_page((nights.folder(1) / "report.html").as_uri())
    marks = page.evaluate("""() => {
        const colours = ["--main", "--other", "--good", "--bad"].map((name) => {
            const probe = document.body.appendChild(document.createElement("i"));
            probe.style.color = `var(${name})`;
            return getComputedStyle(probe).color;
        });
        const isOfData = ({ fill, stroke }) => colours.includes(fill) || colours.includes(stroke);
        return [...document.querySelectorAll("figure svg")].map((picture) => {
            const drawn = [...picture.querySelectorAll("g[id*=axes] path, g[id*=axes] use")].filter((mark) => {
                const box = mark.getBoundingClientRect(), style = getComputedStyle(mark);
                return box.width + box.height > 1 && (style.fill !== "none" || style.stroke !== "none");
            });
            const ofData = drawn.filter((mark) => isOfData(getComputedStyle(mark)));
            return [picture.querySelector("title").textContent, drawn.length, ofData.length];
        });
    }""")
    assert len(marks) >= 8 and min(n for _, n, _ in marks) >= 4, marks
    assert min(n for _, _, n in marks) >= 1, "what stands for data has a colour of its own"
    for picture in page.get_by_role("img").all():
        assert picture.get_attribute("aria-labelledby")


def test_the_report_is_walked_by_its_anchors(nights: Nights, open_page: "Callable[..., Page]") -> None:
    page = open_page((nights.folder(1) / "report.html").as_uri(), "phone")
    page.get_by_role("link", name="Five items").click()
    assert page.get_by_role("heading", name="Five items").is_visible()
    assert page.evaluate("scrollY") > 1000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("asked", ["", "?q=film", "?user=12", "?item=12"])
def test_the_explore_page_can_be_read(
    address: str, open_page: "Callable[..., Page]", asked: str, width: str, scheme: str
) -> None:
    page = open_page(address + asked, width, scheme)
    assert is_as_wide_as_the_screen(page)
    assert serious_findings(page) == []
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == LIGHT) == (scheme == "light")


def test_search_walk_and_come_back_with_the_keyboard(address: str, open_page: "Callable[..., Page]") -> None:
    page = open_page(address)
    page.keyboard.type("film 12")
    page.get_by_role("status").get_by_text("1 items and 0 users").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Film 12", level=1).wait_for()
    assert page.url == f"{address}?item=12"
    neighbours = page.locator("section").filter(has_text="Neighbours").get_by_role("link")
    name = neighbours.first.inner_text()
    neighbours.first.click()
    page.get_by_role("heading", name=name, level=1).wait_for()
    page.locator("section").filter(has_text="Users in whose lists").get_by_role("link").first.click()
    page.get_by_role("heading", name="Recommendations").wait_for()
    shared = page.url
    page.go_back()
    page.get_by_role("heading", name=name, level=1).wait_for()
    page.go_back()
    page.get_by_role("heading", name="Film 12", level=1).wait_for()
    page.goto(shared)
    assert page.get_by_role("heading", name="Recommendations").is_visible()


def test_odd_titles_are_shown_and_not_run(address: str, open_page: "Callable[..., Page]") -> None:
    page = open_page(address)
    page.get_by_role("searchbox").fill("alert")
    page.get_by_role("link", name=ODD_TITLE).click()
    assert page.get_by_role("heading", level=1).inner_text() == ODD_TITLE
