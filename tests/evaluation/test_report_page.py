"""The report in a real browser, without network: it fits, draws, sorts, plays and loads nothing."""

import shutil
from pathlib import Path

import pytest

from mist_jax.evaluation.report.differing import differing
from mist_jax.evaluation.report.document import write_report
from mist_jax.rollout.sinks.film import write_video
from mist_jax.rollout.sinks.video import video_name
from tests.helpers.episode_samples import filmed_episode
from tests.helpers.evaluation_samples import study

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS, SCHEMES = (1400, 390), ("light", "dark")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH to look at the page with"),
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A study with two films, all arms' colours and a long name."""
    folder, results = tmp_path_factory.mktemp("report"), study(tasks=6)
    for pair in differing(results, "mist", 4).shown:
        for one in pair:
            write_video(folder / video_name(one.key), filmed_episode(one.steps))
    write_report(folder, results, folder, 4)
    return folder / "report.html"


class Seen:
    """A page as it was opened, and all that it complained of or asked for."""

    def __init__(self, browser, path: Path, width: int, scheme: str):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        self.context.set_default_timeout(120_000)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]", state="attached")

    def __enter__(self) -> "Seen":
        return self

    def __exit__(self, *_) -> None:
        self.context.close()


MARKS = """() => [...document.querySelectorAll("[data-chart]")].map((place) => {
  const svg = place.querySelector("svg");
  const marks = [...(svg?.querySelectorAll(".role-mark :is(path, line, text)") ?? [])].filter(
    (mark) => mark.getBBox().width + mark.getBBox().height > 0);
  const fits = svg?.getBoundingClientRect().width <= place.getBoundingClientRect().width + 1;
  return { name: place.dataset.chart, label: svg?.getAttribute("aria-label"), fits,
           marks: marks.length };
})"""
SORTED_BY = """[...document.querySelectorAll("table.arms tbody tr")].map(
  (row) => Number(row.cells[2].dataset.value))"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_fits_and_draws_every_chart_and_asks_for_nothing(
    browser, report, tmp_path, width, scheme
):
    with Seen(browser, report, width, scheme) as seen:
        page = seen.page
        page.screenshot(path=str(tmp_path / f"{width}-{scheme}.png"), full_page=True)
        assert seen.said == []
        assert [url[:80] for url in seen.asked if not url.startswith(("file:", "data:"))] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        charts = page.evaluate(MARKS)
        assert len(charts) > 20
        for chart in charts:
            assert chart["marks"] > 0, chart
            assert chart["fits"], chart
            assert chart["label"], chart
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        level = sum(int(part) for part in background.strip("rgb()").split(",")) / 3
        assert (level > 128) == (scheme == "light")
        ink = page.evaluate("document.querySelector('.chart svg text').getAttribute('fill')")
        assert (sum(bytes.fromhex(ink[1:])) / 3 < 128) == (scheme == "light")


def test_a_click_on_a_heading_sorts_and_another_turns_it(browser, report):
    with Seen(browser, report, 1400, "light") as seen:
        heading = seen.page.locator("table.arms th").nth(2)
        heading.locator("button").click()
        up = seen.page.evaluate(SORTED_BY)
        assert heading.get_attribute("aria-sort") == "ascending"
        heading.locator("button").click()
        down = seen.page.evaluate(SORTED_BY)
        assert (up, down) == (sorted(up), sorted(up, reverse=True))
        assert len(set(up)) > 1


def test_films_of_a_pair_stand_side_by_side_or_below_each_other(browser, report):
    for width, beside in ((1400, True), (390, False)):
        with Seen(browser, report, width, "light") as seen:
            films = seen.page.locator("section.pair").first.locator("video")
            one, other = films.nth(0).bounding_box(), films.nth(1).bounding_box()
            assert (one["y"] == other["y"]) == beside
            assert one["width"] > 300
            assert films.nth(0).get_attribute("src").startswith("data:video/mp4")
            assert seen.page.locator("section.pair .play").count() == 4


def test_a_report_without_films_says_how_to_get_them(browser, tmp_path):
    write_report(tmp_path, study(tasks=2))
    with Seen(browser, tmp_path / "report.html", 390, "dark") as seen:
        assert seen.page.locator("video").count() == 0
        assert "--save_video=all" in seen.page.locator("main").inner_text()
        assert seen.page.locator("#data ~ .card a[href='summary.json']").count() == 1
        assert seen.said == []
