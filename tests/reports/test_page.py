"""The page of the demo in a real browser: clicked, filtered, printed; it asks nobody for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import write_small
from weightguard.demo import corpus
from weightguard.reports import html

webdriver = pytest.importorskip("selenium.webdriver")
LINEAGE = """schema = "weightguard/declaration/1"
[model]
name = "student"
run = "sft"
whole = true
[[run]]
id = "pretrain"
kind = "pre-training"
starts_from = []
operations = 2e24
data_complete = true
[[run]]
id = "sft"
kind = "fine-tuning"
starts_from = ["pretrain", {model = "other", published = true, operations = 1e24}]
operations = 1e23
data_complete = true
[[run.data]]
share = 0.5
published = false
generator = "teacher"
[[generator]]
id = "teacher"
weights_published = false
generation_operations = 4e23
training_runs = ["pretrain"]
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    corpus.write(str(folder))
    write_small(folder / "lineage")
    (folder / "lineage" / "weightguard.toml").write_text(LINEAGE)
    path = folder.parent / f"{folder.name}.html"
    path.write_text(html.render(weightguard.scan(str(folder))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
    )
    for flag in [
        *flags.split(),
        "disable-sync",
        "window-size=1100,1400",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.get(page.as_uri())
    return browser


def rows(browser: Any) -> list[list[str]]:
    shown = "[...document.querySelectorAll('#models tbody tr')].filter(r => !r.hidden)"
    script = f"return {shown}.map(r => [...r.cells].map(c => c.innerText))"
    found: list[list[str]] = browser.execute_script(script)
    return found


def test_the_decision_comes_first(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    assert opened.find_element(By.TAG_NAME, "h1").text == "weightguard: block"
    assert "models blocked" in opened.find_element(By.CSS_SELECTOR, "p.verdict").text
    assert not [line for line in opened.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


def test_the_table_sorts(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    buttons = {b.text: b for b in opened.find_elements(By.CSS_SELECTOR, "#models th button")}
    buttons["parameters"].click()
    counts = [int(row[4].replace(",", "")) for row in rows(opened)]
    assert counts == sorted(counts) and len(counts) > 3 and counts[0] < counts[-1]
    buttons["parameters"].click()
    assert [int(row[4].replace(",", "")) for row in rows(opened)] == sorted(counts, reverse=True)
    assert buttons["parameters"].find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    buttons["operations at most"].click()
    bounds = [float("inf") if row[5] == "no bound" else float(row[5]) for row in rows(opened)]
    assert bounds == sorted(bounds)


def test_the_table_filters(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    every = rows(opened)
    box = opened.find_element(By.ID, "filter")
    box.send_keys("BLOCK 4E091")
    left = rows(opened)
    assert 0 < len(left) < len(every) and all(row[1] == "block" for row in left)
    assert opened.find_element(By.ID, "said").text == f"{len(left)} of {len(every)} models"
    box.clear()
    box.send_keys("nothing like it")
    assert rows(opened) == []


def test_by_keyboard_alone(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.switch_to.active_element.get_attribute("id") == "filter"
    opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "model"
    opened.switch_to.active_element.send_keys(Keys.ENTER)
    paths = [row[0] for row in rows(opened)]
    assert paths == sorted(paths, key=lambda p: p.lower()) or len(set(paths)) > 1


def test_nothing_is_asked_of_anybody(opened: Any) -> None:
    import json

    opened.get_log("performance")  # the browser's own pages, before
    opened.refresh()
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:", "chrome:")) for url in asked)


def test_the_graph_and_the_law_s_words_are_there(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    (graph,) = opened.find_elements(By.CSS_SELECTOR, "svg.graph")[-1:]
    words = graph.text
    assert "generator teacher, not published" in words and "sft (fine-tuning)" in words and "starts from" in words
    boxes = graph.find_elements(By.TAG_NAME, "rect")
    assert len(boxes) == 4
    places = [(b.rect["x"], b.rect["y"]) for b in boxes]
    assert len(set(places)) == 4
    assert "'Parameters' for an artificial intelligence model" in opened.page_source


def test_a_picture_for_people_to_look_at(opened: Any) -> None:
    """Kept where $WEIGHTGUARD_PICTURES says, light, dark and as printed."""
    folder = os.environ.get("WEIGHTGUARD_PICTURES")
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        picture = opened.get_screenshot_as_png()
        assert len(picture) > 20_000
        if folder:
            Path(folder, f"page-{scheme}.png").write_bytes(picture)
    opened.execute_script("document.querySelector('svg.graph').scrollIntoView()")
    if folder:
        Path(folder, "graph.png").write_bytes(opened.get_screenshot_as_png())
    printed = opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(printed) > 20_000
