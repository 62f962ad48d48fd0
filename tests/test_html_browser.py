"""The page in a real browser: it is used by pointer and by keyboard, and nothing in it acts or leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ckpt_compat import Structure, TensorSpec, Verdict
from pytest_ckpt_compat._core.changes import Change, Policy
from pytest_ckpt_compat._core.rules import judge
from tests.html_pages import HOSTILE, hostile, loads, refactored, written

if TYPE_CHECKING:
    import playwright.sync_api as playwright
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW = "no Chromium is on the PATH: apt-get install chromium, or python -m playwright install chromium"


@dataclass
class Browser:
    """A browser, and what went wrong on the page that is open."""

    context: playwright.BrowserContext
    complaints: list[str] = field(default_factory=list)

    def open(self, address: str, ready: int = 1) -> playwright.Page:
        """Opens a page, and waits for so many trees; no request but that for it may be made."""
        page = self.context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self._requested(request.url, address))
        page.goto(address)
        for tree in page.locator(".trees[open] .explorer").all()[:ready]:
            tree.scroll_into_view_if_needed()
            tree.locator("[role=row][data-row]").first.wait_for()
        return page

    def _requested(self, url: str, address: str) -> None:
        if url.partition("#")[0] != address:
            self.complaints.append(f"request: {url}")


@pytest.fixture(scope="module")
def started() -> Iterator[playwright.Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as running:
        if found is None and not Path(running.chromium.executable_path).exists():
            pytest.skip(HOW)
        browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(started: playwright.Browser) -> Iterator[Browser]:
    context = started.new_context(viewport={"width": 1300, "height": 900})
    made = Browser(context)
    yield made
    context.close()
    assert not made.complaints


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with a checkpoint that breaks, one with hostile names, and one that loads."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    return written(path, refactored(), hostile(), loads(), label="origin/main")


def row(page: playwright.Page, text: str) -> playwright.Locator:
    """The first row of the first tree that has a text."""
    return page.locator(".explorer").first.locator("[role=row][data-row]", has_text=text).first


def shown(page: playwright.Page) -> list[str]:
    """The rows of the first tree, from the top: the two names of each."""
    rows = page.locator(".explorer").first.locator("[role=row][data-row]").all()
    numbers = [int(each.get_attribute("data-row") or 0) for each in rows]
    assert numbers == sorted(numbers), "a screen reader meets the rows in another order"
    return ["|".join(name.inner_text() for name in each.locator(".name").all()) for each in rows]


def test_the_trees_stand_side_by_side_with_a_braid(browser: Browser, address: str) -> None:
    page = browser.open(address)
    assert shown(page) == [
        "embed|embed",
        "blocks|layers",
        "{0..11}|{0..11}",
        "norm1|attn_norm",
        "attn|attn",
        "qkv|q",
        "k",
        "v",
        "mlp|mlp",
        "head|head",
    ]
    lines = page.locator(".explorer").first.locator(".lines path.braid")
    starts = {str(line.get_attribute("d")).split(" C ")[0].split(" L ")[0] for line in lines.all()}
    assert lines.count() == 3
    assert len(starts) == 1  # three lines out of one row
    assert "split" in row(page, "qkv").inner_text()


def test_folded_blocks_close_and_open_by_click(browser: Browser, address: str) -> None:
    page = browser.open(address)
    block = row(page, "{0..11}")
    assert block.get_attribute("aria-expanded") == "true"
    block.click()
    assert row(page, "{0..11}").get_attribute("aria-expanded") == "false"
    assert shown(page) == ["embed|embed", "blocks|layers", "{0..11}|{0..11}", "head|head"]
    row(page, "{0..11}").click()
    row(page, "norm1").click()
    assert "weight|weight" in shown(page)
    details = page.locator("[data-part=details]").first
    row(page, "weight").hover()
    details.get_by_text("blocks.{0..11}.norm1.weight").wait_for()
    details.get_by_text("12 keys").wait_for()
    details.get_by_text("layers.11.attn_norm.weight").wait_for()


def test_the_evidence_is_read_by_pointer_and_by_keyboard_alone(browser: Browser, address: str) -> None:
    page = browser.open(address)
    details = page.locator("[data-part=details]").first
    row(page, "norm1").hover()
    details.get_by_text("the same in all 12 blocks").wait_for()
    assert "How sure\ncertain" in details.inner_text() or "How sure\nlikely" in details.inner_text()
    page.reload()
    page.locator("[role=row][data-row]").first.wait_for()
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the checkpoints"
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(":focus").get_attribute("role") == "row":
            break
    assert page.locator(":focus").get_attribute("aria-level") == "1"
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.locator(":focus .name").first.inner_text() == "{0..11}"  # closed, and still there
    assert page.locator(":focus").get_attribute("aria-expanded") == "false"
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    focused = page.locator(":focus")
    assert focused.locator(".name").first.inner_text() == "weight"
    described = page.locator("#" + str(focused.get_attribute("aria-describedby")))
    assert "the same in all 12 blocks" in described.inner_text()
    page.keyboard.press("Enter")
    assert page.locator(":focus").get_attribute("data-part") == "details"
    page.keyboard.press("Escape")
    assert page.locator(":focus .name").first.inner_text() == "weight"
    page.keyboard.press("End")
    assert page.locator(":focus .name").first.inner_text() == "head"
    page.keyboard.press("Home")
    assert page.locator(":focus .name").first.inner_text() == "embed"


def test_the_search_finds_keys_in_folded_blocks(browser: Browser, address: str) -> None:
    page = browser.open(address)
    page.locator("[data-part=search]").first.fill("11 NORM")
    status = page.locator("[data-part=status]").first
    status.get_by_text("2 tensors fit").wait_for()
    assert shown(page) == [
        "blocks|layers",
        "{0..11}|{0..11}",
        "norm1|attn_norm",
        "weight|weight",
        "bias|bias",
    ]
    page.locator("[data-part=search]").first.fill("nowhere")
    status.get_by_text("0 tensors fit").wait_for()
    assert shown(page) == []
    page.locator("[data-part=search]").first.fill("")
    page.locator("[data-part=changes]").first.check()
    row(page, "head").wait_for()
    assert "embed|embed" not in shown(page)


def test_hostile_names_are_text(browser: Browser, address: str) -> None:
    page = browser.open(address, ready=2)
    assert page.locator("img").count() == 0
    assert page.locator("main .checkpoint").count() == 3
    shown_name = HOSTILE.replace("\u2028", "\\u2028").replace("\u202e", "\\u202e")
    assert page.locator("h2").nth(1).inner_text() == shown_name
    tree = page.locator(".explorer").nth(1)
    assert tree.locator(".name", has_text="onerror").first.text_content() == shown_name
    assert tree.locator("script, img").count() == 0


def test_dark_and_narrow(started: playwright.Browser, address: str) -> None:
    context = started.new_context(color_scheme="dark", viewport={"width": 420, "height": 800})
    browser = Browser(context)
    page = browser.open(address)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in back[4:-1].split(",")) < 60
    assert page.evaluate("document.documentElement.scrollWidth") <= 420  # the trees scroll by themselves
    context.close()
    assert not browser.complaints


def test_a_rule_is_explained_where_its_name_leads(browser: Browser, address: str) -> None:
    page = browser.open(address)
    page.emulate_media(reduced_motion="reduce")  # it is there at once
    page.locator("#checkpoint-1 table a.rule", has_text="CK104").click()
    assert page.evaluate("document.querySelector('#rule-ck104').getBoundingClientRect().top") < 850
    assert page.locator("#rule-ck104 h3").is_visible()
    page.go_back()
    row(page, "qkv").hover()
    link = page.locator("[data-part=details]").first.locator("a.rule", has_text="CK104")
    assert link.get_attribute("href") == "#rule-ck104"


@pytest.mark.parametrize("width", [320, 420])
def test_long_names_do_not_widen_a_narrow_page(
    started: playwright.Browser, tmp_path: Path, width: int
) -> None:
    long = "model.transformer.encoder.blocks.attention.self_attention.query_projection.weight_original0" * 2
    verdict = replace(
        refactored(),
        name=long,
        old_label=long,
        notes=(f"migration m:x: {long}",),
        code=f"x = {long!r}",
        proof=f"9 of 9 steps proven: {long}",
        repairs=(("how to open it", f"ckpt-compat migrate {long}"),),
    )
    address = written(tmp_path / "long.html", verdict, loads(), hostile())
    context = started.new_context(viewport={"width": width, "height": 800})
    browser = Browser(context)
    page = browser.open(address)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    grid = page.locator("[data-part=grid]").first
    assert grid.evaluate("(box) => box.scrollWidth > box.clientWidth")
    grid.evaluate("(box) => { box.scrollLeft = 1e4; }")
    assert row(page, "layers").locator(".cell.right").is_visible()
    rows = page.locator("#checkpoint-1 .wide").first
    assert rows.evaluate("(box) => box.scrollWidth <= box.clientWidth")  # each row is a block
    assert page.get_by_role("cell", name="CK104 split").is_visible()
    context.close()
    assert not browser.complaints


def test_without_javascript_the_page_says_the_same(started: playwright.Browser, address: str) -> None:
    context = started.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.get_by_text("Without JavaScript").first.is_visible()
    assert page.locator(".overview tbody tr").count() == 3
    page.get_by_role("link", name="vit-v1").click()
    page.locator("#checkpoint-1 details.text summary").click()
    assert "~ blocks.{0..11}.attn.qkv.*" in page.locator("#checkpoint-1 details.text pre").inner_text()
    assert page.locator("[role=treegrid]").count() == 0
    context.close()


def many(number: int) -> Verdict:
    """A checkpoint with so many tensors, each under another name now."""
    spec = TensorSpec("float32", (4,))
    pairs = [(f"old_{place}x", f"new_{place}x") for place in range(number)]
    changes = [Change("renamed", (a,), (b,), (spec,), (spec,), group="old_* -> new_*") for a, b in pairs]
    old, new = Structure({a: spec for a, _ in pairs}), Structure({b: spec for _, b in pairs})
    return Verdict(judge(changes, Policy()), name="many", old=old, new=new)


def test_100_000_keys_make_few_elements(browser: Browser, tmp_path: Path) -> None:
    page = browser.open(written(tmp_path / "many.html", many(50_000)))  # on each side
    grid = page.locator("[data-part=grid]")
    assert grid.get_attribute("aria-rowcount") == "50001"
    number = "document.querySelectorAll('*').length"
    assert page.evaluate(number) < 1500
    page.evaluate("document.querySelector('[data-part=grid]').scrollTop = 1e6")
    row(page, "old_35").wait_for()
    assert page.evaluate(number) < 1500
    page.locator("[data-part=search]").fill("OLD_37777x")
    page.locator("[data-part=status]", has_text="1 tensor fits").wait_for()
    assert shown(page) == ["old_37777x|new_37777x"]
    assert page.evaluate(number) < 1500
