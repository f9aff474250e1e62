"""What somebody does on the page, in a real browser: one small world, one service, one browser for the module.

In every journey: no error in the console, no request to another host, and nothing serious or critical by axe-core.
"""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.serving.app import create_app
from tests import scenario
from tests.fakes.serving_world import DAY, World, build_world, item_vectors

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
THEMES = ("light", "dark")
PHONE = {"width": 390, "height": 844}
RULES = {"relevance_share": 1.0, "variants": [{"name": "varied", "share": 0.001, "rules": {"relevance_share": 0.2}}]}
PAGES = (
    "/", "/?user=007&k=8", "/?user=nobody-yet&k=4", "/?user=00&find=1",
    "/session?item=i01&item=i03", "/similar?item=i01",
    "/variants?user=007&k=6&left=default&right=varied", "/published",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny world with pictures' vectors, an evaluation and a training; its titles are hostile where they can be."""
    world = build_world(tmp_path_factory.mktemp("night"), rules=RulesConfig.model_validate(RULES))
    shifted = item_vectors().with_columns(pl.col("vector").list.reverse())
    world.partitions.write("item_image_vectors", DAY, shifted)
    rows = [("hybrid", "ndcg", 0.243, 0.2, 0.29, 109), ("popularity", "ndcg", 0.216, 0.18, 0.25, 109)]
    names = ["recommender", "metric", "value", "low", "high", "users"]
    world.partitions.write("evaluation", DAY, pl.DataFrame(rows, schema=names, orient="row"))
    epochs = {"epoch": [1, 2, 3], "train_loss": [5.0, 4.0, 3.5], "validation_ndcg": [0.1, 0.15, None]}
    world.partitions.write("sequence_model", DAY, pl.DataFrame(epochs))
    return world


@pytest.fixture(scope="module")
def address(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the service listens."""
    media = scenario.write_standard_folder(tmp_path_factory.mktemp("set") / "set")
    app = create_app(world.service, media_root=media, partitions=world.partitions)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    with uvicorn.Config(app, port=0).bind_socket() as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        found = playwright.chromium.executable_path
        if not Path(found).exists():
            pytest.skip("no Chromium: `apt-get install chromium`, or `playwright install chromium`, runs these tests")
    with playwright.chromium.launch(executable_path=found, args=["--no-sandbox"]) as browser:
        yield browser


class Journey:
    """A tab that notes what must not happen."""

    def __init__(self, browser: Browser, address: str, **options: object) -> None:
        self._context = browser.new_context(base_url=address, **options)  # type: ignore[arg-type]
        self.page: Page = self._context.new_page()
        self._address, self._errors, self._asked = address, [], []  # type: ignore[var-annotated]
        self.page.on("console", lambda said: self._errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self._errors.append(str(error)))
        self.page.on("request", lambda request: self._asked.append(request.url))

    def open(self, path: str) -> Page:
        self.page.goto(path)
        return self.page

    def look(self) -> None:
        """axe-core on the page as it stands."""
        found = Axe().run(self.page).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert serious == []

    def end(self) -> None:
        self._context.close()
        assert self._errors == []
        hosts = {urlsplit(url).netloc for url in self._asked if not url.startswith("data:")}
        assert hosts == {urlsplit(self._address).netloc}


@pytest.fixture
def journey(browser: Browser, address: str) -> Iterator[Journey]:
    journey = Journey(browser, address)
    yield journey
    journey.look()
    journey.end()


def titles(page: Page) -> list[str]:
    return page.locator(".card h3").all_inner_texts()


def test_search_a_user_and_see_history_beside_the_list(journey: Journey) -> None:
    page = journey.open("/")
    page.get_by_label("User").fill("00")
    page.get_by_role("button", name="Search ids").click()
    page.get_by_role("link", name="007").click()
    expect(page.get_by_role("heading", name="User 007")).to_be_visible()
    assert page.locator(".past li").count() > 0
    card = page.locator(".card").first
    expect(card.get_by_role("button", name="Viewed")).to_be_visible()
    expect(card.locator("details.parts dt").first).to_have_text("nightly list")
    expect(card.get_by_text("in the score")).to_be_visible()
    expect(page.locator(".badge.real-time")).to_have_text("real-time")
    assert page.locator("audio").count() > 0


def test_a_click_changes_the_list_and_says_what_moved(journey: Journey, world: World) -> None:
    page = journey.open("/?user=001&k=6")
    before, known = titles(page), len(world.tables.log)
    page.locator(".card").first.get_by_role("button", name="Liked").click()
    expect(page.locator("#changed")).to_contain_text(f"Recorded: like of {before[0]}")
    after = titles(page)
    assert before[0] not in after
    assert len(after) == 6
    assert page.locator(".move").count() > 0
    expect(page.get_by_role("status")).to_contain_text("Recorded: like")
    expect(page.locator(".past li .title").first).to_have_text(before[0])
    expect(page.locator(".badge.fresh")).to_have_text("1 item since the night")
    assert len(world.tables.log) == known + 1
    page.reload()
    assert titles(page) == after


def test_scripts_off_does_everything_too(browser: Browser, address: str) -> None:
    journey = Journey(browser, address, java_script_enabled=False)
    page = journey.open("/?user=002&k=5")
    before = titles(page)
    page.locator(".card").first.get_by_role("button", name="Viewed").click()
    expect(page.locator("#changed")).to_contain_text(f"Recorded: view of {before[0]}")
    assert before[0] not in titles(page)
    for path in PAGES:
        journey.open(path)
        expect(page.get_by_role("main")).to_be_visible()
    journey.end()


def test_a_cold_user_gets_a_list_that_becomes_theirs(journey: Journey) -> None:
    page = journey.open(f"/?user={scenario.COLD_USER}&k=4")
    expect(page.get_by_text("Nothing is known of this user yet.")).to_be_visible()
    expect(page.locator(".badge.popular")).to_be_visible()
    page.locator(".card").first.get_by_role("button", name="Liked").click()
    expect(page.locator(".badge.real-time")).to_be_visible()
    assert page.locator(".past li").count() == 1


def test_a_session_is_built_by_links_and_not_stored(journey: Journey, world: World) -> None:
    known = len(world.tables.log)
    page = journey.open("/session")
    page.get_by_role("link", name="Add Comet").first.click()
    first = titles(page)
    page.get_by_label("Add an item by its title").fill("waltz")
    page.get_by_role("button", name="Search titles").click()
    page.get_by_role("link", name="Add Waltz of the romance").click()
    assert page.locator(".past li").count() == 2
    assert titles(page) != first
    page.get_by_role("link", name="remove Waltz").click()
    assert titles(page) == first
    assert len(world.tables.log) == known


def test_similar_items_by_modality(journey: Journey) -> None:
    page = journey.open("/?user=003&k=5")
    title = titles(page)[0]
    page.get_by_role("link", name=title).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    assert page.locator(".spaces h2").all_inner_texts() == ["As published", "By text", "By picture"]
    assert page.locator(".spaces section").nth(2).locator("li").count() > 0


def test_two_variants_side_by_side(journey: Journey) -> None:
    page = journey.open("/?user=004&k=6")
    page.get_by_role("link", name="Compare variants").click()
    page.get_by_label("Right").select_option("varied")
    page.get_by_role("button", name="Compare").click()
    assert page.locator(".two h2").all_inner_texts() == ["default", "varied"]
    left, right = (page.locator(".two section").nth(side).locator(".title").all_inner_texts() for side in (0, 1))
    assert (len(left), len(right)) == (6, 6)
    assert left != right
    assert page.locator(".two .move").count() > 0


def test_what_is_published_with_evaluation_and_curves(journey: Journey) -> None:
    page = journey.open("/")
    page.get_by_role("link", name="Published").click()
    facts = page.locator(".facts").first
    for said in ("run-1", "model-1", "2024-03-11 00:00 UTC"):
        expect(facts).to_contain_text(said)
    assert page.locator("tbody th").all_inner_texts() == ["hybrid", "popularity"]
    expect(page.locator("tbody tr").first).to_contain_text("0.243 0.200–0.290")
    expect(page.get_by_role("img", name="training loss: 5 after the first epoch, 3.5 after epoch 3")).to_be_visible()
    expect(page.locator(".absent")).to_contain_text("item tower")


def test_a_hostile_title_is_text(journey: Journey) -> None:
    page = journey.open(f"/similar?item={scenario.HTML_ITEM}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<b>Nebula</b> &amp; <i>dust</i>")
    assert page.locator("h1 b").count() == 0
    page.goto("/?user=<img src=x onerror=alert(1)>&k=3")
    assert page.locator("h1 img").count() == 0


@pytest.mark.parametrize("theme", THEMES)
def test_every_page_in_both_themes_and_on_a_phone(browser: Browser, address: str, theme: str) -> None:
    journey = Journey(browser, address, color_scheme=theme, viewport=PHONE)
    for path in PAGES:
        page = journey.open(path)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in paper[4:-1].split(",")) < 200) == (theme == "dark")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        journey.look()
    journey.end()


def test_the_keyboard_reaches_everything(journey: Journey) -> None:
    page = journey.open("/?user=005&k=3")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator(".card").first.get_by_role("button", name="Viewed").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#changed")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()


def test_another_site_cannot_press_the_buttons(journey: Journey, browser: Browser, world: World, address: str) -> None:
    known = len(world.tables.log)
    journey.open("/")
    elsewhere = browser.new_page()
    form = (
        f'<form action="{address}/?user=006" method="post"><input name="item_id" value="i01"><button>go</button></form>'
    )
    elsewhere.set_content(form)
    with elsewhere.expect_navigation():
        elsewhere.get_by_role("button").click()
    expect(elsewhere.locator("body")).to_contain_text("Pages of other origins may not write here")
    elsewhere.close()
    assert len(world.tables.log) == known
