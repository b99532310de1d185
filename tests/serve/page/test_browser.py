"""The page in a real headless Chromium, in front of the real service."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from semcache_async.bounds.intervals import measured
from semcache_async.embed import TextEmbedder
from semcache_async.testing import AngleEmbedder
from tests.helpers import until
from tests.serve.page.helpers import serving
from tests.serve.running import ACME_KEY, ADMIN_KEY, write_keys

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: run scripts/install-browser, or set CHROMIUM"
    ),
]


@pytest.fixture
def anyio_backend() -> Any:
    """One loop: what differs is in the browser."""
    return ("asyncio", {})


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def showing(browser: Browser, url: str, **context: Any) -> AsyncIterator[Page]:
    """The page at ``url``; fails for an error in its script or a request to anybody else."""
    complaints: list[str] = []
    opened = await browser.new_context(**context)
    page = await opened.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda sent: None if sent.url.startswith(url) else complaints.append(sent.url),
    )
    await page.goto(url)
    await expect(page.locator("#status-text")).not_to_have_text("connecting")
    yield page
    await opened.close()
    provoked = ("the server responded with a status of 40", "net::ERR_FAILED")
    assert not [text for text in complaints if not any(part in text for part in provoked)]


async def ask(page: Page, prompt: str) -> None:
    """Ask and wait for what comes."""
    await page.fill("#prompt", prompt)
    async with page.expect_response("**/semantic-cache/answer"):
        await page.keyboard.press("Enter")
    await expect(page.locator("#send")).to_have_text("Ask")


async def test_ask_judge_review_and_invalidate(
    browser: Browser, redis_url: str, name: str, text_embedder: TextEmbedder
) -> None:
    async with (
        serving(redis_url, name, text_embedder, max_distance=0.08) as (url, service),
        showing(browser, url) as page,
    ):
        badge = page.locator("#badge")
        places = [await page.locator(part).bounding_box() for part in ("#answer", "#lists")]
        await ask(page, "Why is the sky blue?")
        await expect(badge).to_have_text("miss, generated")
        await ask(page, "Why does the sky look blue?")
        await expect(badge).to_have_text("semantic hit")
        await expect(page.locator("#why")).to_contain_text("“Why is the sky blue?”")
        await expect(page.locator("#answer")).to_contain_text("Why is the sky blue?")
        await expect(page.locator(".lane.in .text")).to_have_text("Why is the sky blue?")
        await expect(page.locator("#legend")).to_contain_text("search")
        assert places == [await page.locator(part).bounding_box() for part in ("#answer", "#lists")]

        await service.journal.flush()
        await page.reload()
        row = page.locator("#near .row")
        await expect(row.locator("mark")).to_have_text(["does", "look", "is"])
        await row.get_by_role("button", name="Wrong").click()
        await expect(row.get_by_role("button", name="Wrong")).to_have_attribute(
            "aria-pressed", "true"
        )
        await page.get_by_role("tab", name="Reviews").click()
        review = page.locator("#reviews .row")
        await expect(review).to_contain_text("Why does the sky look blue?")
        await expect(review.locator(".said")).to_have_text("wrong")
        await expect(page.locator("#review-sum")).to_have_text("0 right, 1 wrong.")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download JSONL").click()
        saved = await (await download.value).path()
        assert '"label":0' in saved.read_text()

        await page.get_by_role("tab", name="Near").click()
        await row.get_by_role("button", name="Invalidate entry").click()
        await page.locator("#confirm-no").click()
        assert len(await service.cache.browse()) == 1
        await row.get_by_role("button", name="Invalidate entry").click()
        await page.locator("#confirm-yes").click()
        await expect(page.locator("#toast")).to_have_text("1 entry invalidated.")
        await ask(page, "Why does the sky look blue?")
        await expect(badge).to_have_text("miss, generated")
        await expect(page.locator("#f-requests")).to_have_text("3")
        await expect(page.locator("#f-rate")).to_have_text("33.3 %")
        await expect(page.locator("#latency")).to_contain_text("semantic")


async def test_traffic_is_told(browser: Browser, redis_url: str, name: str) -> None:
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, _),
        showing(browser, url) as page,
    ):
        await page.locator("#tab-near").focus()
        await page.keyboard.press("5")
        await expect(page.locator("#traffic")).to_contain_text("Nothing asked yet")
        await ask(page, "refund at 10")
        await ask(page, "refund at 10")
        await page.get_by_role("button", name="Refresh").click()
        rows = page.locator("#traffic tbody tr")
        await expect(rows.nth(0)).to_have_text("plain21 exact, 1 generated")
        await expect(rows.nth(1)).to_contain_text("default")
        await expect(rows.nth(1)).to_contain_text("ok")
        await expect(rows.nth(1)).to_contain_text("ms")
        await ask(page, "money back at 30")

        await page.reload()
        await expect(page.locator("#saved-sum")).to_contain_text("2 of 3 LLM calls avoided")
        assert await page.locator("#saved-svg .avoided, #saved-svg .made").count() >= 2
        metrics = await page.evaluate("fetch('/metrics').then((said) => said.text())")
        numbers = {
            name: float(n)
            for name, n in re.findall(r"^(semcache_.+) ([\d.]+)$", metrics, re.MULTILINE)
        }
        flights = {
            "led here": "semcache_llm_calls_total",
            "callers shared one": 'semcache_requests_total{result="shared"}',
            "followed elsewhere": "semcache_followed_total",
            "taken over": "semcache_takeovers_total",
            "under way": "semcache_flights",
            "callers wait": "semcache_waiting",
        }
        shown = [f"{name}{numbers[told]:.0f}" for name, told in flights.items()]
        await expect(page.locator("#flights > div")).to_have_text(shown)
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_quality_is_told(browser: Browser, redis_url: str, name: str) -> None:
    learning: dict[str, Any] = {"target_precision": 0.9, "audit_share": 1.0, "judge_rate": None}
    async with (
        serving(
            *(redis_url, name, AngleEmbedder()),
            max_distance=0.3,
            judge_model="simulated",
            **learning,
        ) as (url, service),
        showing(browser, url) as page,
    ):
        image = '<img src=x onerror="window.hit=1">'
        await page.fill("#tenant", image)
        await page.get_by_role("tab", name="Quality").click()
        await expect(page.locator("#wrong-hits")).to_contain_text("No semantic hit")
        await expect(page.locator("#quality")).to_contain_text("No scope has found")
        await ask(page, "refund at 10")
        await ask(page, "money back at 50")
        await expect(page.locator("#why")).to_contain_text("too far for")
        await ask(page, "cash at 12")
        await until(lambda: service.cache.stats().judging == 0)
        ((scope, _),) = service.cache.reaches()
        found = await service.cache.reach(scope)
        assert found is not None
        await page.get_by_role("button", name="Refresh").click()
        await expect(page.locator("#wrong-hits")).to_contain_text(
            "by 1 audit. Promised: at most 10.0 %."
        )
        row = page.locator("#quality tbody tr")
        await expect(row.locator("th")).to_have_text(f"{image} · simulated")
        share, low, high = measured(found.audited.right, found.audited.total) or (0.0, 0.0, 0.0)
        reach = f"{found.max_distance:.3f}"
        await expect(row.locator("td")).to_have_text(
            [
                *(reach, "90.0 %"),
                f"{share:.1%} ({low:.1%} to {high:.1%}), 1 audit".replace("%", " %"),
                *("open", found.explain()),
            ]
        )
        await expect(row.locator("svg .promised")).to_have_count(1)
        assert await page.evaluate("window.hit") is None
        await page.locator("#tab-near").focus()
        await page.keyboard.press("4")
        await expect(page.locator("#panel-quality")).to_be_visible()
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"verified": 0.9}, "too few verdicts yet"),
        ({"shadow": True}, "in shadow mode nothing is served"),
    ],
)
async def test_why_something_near_was_not_served(
    options: dict[str, Any], said: str, browser: Browser, redis_url: str, name: str
) -> None:
    async with (
        serving(redis_url, name, AngleEmbedder(), **options) as (url, _),
        showing(browser, url) as page,
    ):
        await ask(page, "refund at 10")
        await ask(page, "money back at 30")
        await expect(page.locator("#why")).to_contain_text(said)


async def test_the_threshold_tightens(browser: Browser, redis_url: str, name: str) -> None:
    async with (
        serving(redis_url, name, AngleEmbedder(), max_distance=0.1) as (url, _),
        showing(browser, url) as page,
    ):
        await ask(page, "refund at 10")
        await page.locator("#threshold").focus()
        await page.keyboard.press("Home")
        await expect(page.locator("#threshold-out")).to_have_text("0.000")
        await ask(page, "money back at 30")
        await expect(page.locator("#badge")).to_have_text("miss, generated")
        await expect(page.locator("#why")).to_contain_text("0.060 away, too far for 0.000")
        await expect(page.locator(".lane.in")).to_have_count(0)
        await page.locator("#threshold").focus()
        await page.keyboard.press("End")
        await expect(page.locator("#threshold-out")).to_have_text("0.100")
        await expect(page.locator(".lane.in")).to_have_count(1)


async def test_nothing_asked_is_taken_for_markup(
    browser: Browser, redis_url: str, name: str
) -> None:
    image = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, service),
        showing(browser, url) as page,
    ):
        await page.fill("#tenant", image)
        await page.fill("#tags", image)
        await ask(page, f"{image} at 10")
        await ask(page, f"{image} again at 30")
        await expect(page.locator("#why")).to_contain_text(image)
        await expect(page.locator("#answer")).to_contain_text(image)
        await service.journal.flush()
        await page.reload()
        await expect(page.locator("#near")).to_contain_text(f"{image} again at 30")
        await page.locator("#near .verdict").first.click()
        await page.get_by_role("tab", name="Reviews").click()
        await expect(page.locator("#reviews")).to_contain_text(image)
        await page.get_by_role("tab", name="Entries").click()
        await page.get_by_role("button", name=f"{image}1").click()
        await expect(page.locator("#drop-tag")).to_contain_text(image)
        await page.locator("#drop-tag").click()
        await expect(page.locator("#confirm-title")).to_contain_text(image)
        await page.locator("#confirm-yes").click()
        await expect(page.locator("#entries")).to_contain_text("Nothing stored")
        assert await page.evaluate("window.hit") is None
        assert await page.locator("img, body script").count() == 0


async def test_keys_of_the_keyboard(browser: Browser, redis_url: str, name: str) -> None:
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, service),
        showing(browser, url) as page,
    ):
        for prompt in ("refund at 10", "money back at 30", "card at 80", "plastic at 100"):
            await ask(page, prompt)
        await service.journal.flush()
        await page.reload()
        await expect(page.locator("#near .row")).to_have_count(2)
        await page.locator("#tab-near").focus()
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.locator("#near .row").last).to_be_focused()
        await page.keyboard.press("w")
        await page.keyboard.press("k")
        async with page.expect_response("**/semantic-cache/reviews"):
            await page.keyboard.press("r")
        await page.keyboard.press("2")
        await expect(page.locator("#reviews .said")).to_have_text(["right", "wrong"])
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#entries .row")).to_have_count(2)
        await page.keyboard.press("?")
        await expect(page.locator("#help")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("/")
        await expect(page.locator("#prompt")).to_be_focused()
        await page.keyboard.type("1/?")
        await expect(page.locator("#prompt")).to_have_value("1/?")


async def test_a_key_is_asked_for_and_kept_in_the_tab(
    browser: Browser, redis_url: str, name: str, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    async with (
        serving(redis_url, name, AngleEmbedder(), keys=keys) as (url, _),
        showing(browser, url) as page,
    ):
        await expect(page.locator("#keybar")).to_be_visible()
        await expect(page.locator("#status-text")).to_have_text("key needed")
        await page.fill("#key", "sk-wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator("#key-hint")).to_have_text("The API key is not known here.")
        await page.fill("#key", ACME_KEY)
        await page.keyboard.press("Enter")
        await expect(page.locator("#status-text")).to_have_text("live")
        await expect(page.locator("#near")).to_contain_text("shown to admins")
        await ask(page, "refund at 10")
        await expect(page.locator("#badge")).to_have_text("miss, generated")
        await page.locator("#key-button").click()
        await page.fill("#key", ADMIN_KEY)
        await page.keyboard.press("Enter")
        await expect(page.locator("#near")).to_contain_text("No hits near the threshold yet")
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        await page.reload()
        await expect(page.locator("#status-text")).to_have_text("live")


async def test_it_fits_a_phone_and_rests_when_hidden(
    browser: Browser, redis_url: str, name: str
) -> None:
    phone = {"width": 360, "height": 740}
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, _),
        showing(browser, url, viewport=phone, is_mobile=True, has_touch=True) as page,
    ):
        await ask(page, f"{'averylongword' * 20} at 10")
        await ask(page, f"{'averylongword' * 20} again at 30")
        for tab in ("Reviews", "Entries", "Near"):
            await page.get_by_role("tab", name=tab).click()
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        hide = """hidden => {
            Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
        await page.evaluate(hide, True)
        await expect(page.locator("#status-text")).to_have_text("paused")
        await page.evaluate(hide, False)
        await expect(page.locator("#status-text")).to_have_text("live")


async def test_a_service_that_is_gone_is_said(browser: Browser, redis_url: str, name: str) -> None:
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, _),
        showing(browser, url) as page,
    ):
        await page.route("**/semantic-cache/*", lambda route: route.abort())
        await expect(page.locator("#status-text")).to_have_text("unreachable")
        await page.fill("#prompt", "refund at 10")
        await page.keyboard.press("Enter")
        await expect(page.locator("#why")).to_have_text("The service cannot be reached.")
        await expect(page.locator("#prompt")).to_have_value("refund at 10")
        await page.unroute("**/semantic-cache/*")
        await expect(page.locator("#status-text")).to_have_text("live")
