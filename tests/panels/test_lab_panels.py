"""The four panels of monitoring where they are used: notebook 08 in a real JupyterLab, looked at by a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest
from lab_stage import browser, lab, run_all

import suite
from suite.bench import Bench
from suite.cli.main import main

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOK = "08_watch_the_suite.ipynb"
PANELS = ("overview", "memory", "alerts", "log")
PICTURES = ("overview", "alerts")  # that README shows; UPDATE_README=1 makes them anew


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks" / "documents", home / "work" / "documents")
    book = nbformat.read(ROOT / "notebooks" / NOTEBOOK, 4)
    book.cells = [cell for cell in book.cells if "bench.stop()" not in cell.source]  # the panels go on
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(book, home / "work" / NOTEBOOK)
    return {"DATA_DIR": str(home / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "HOME": str(home)}


@pytest.fixture(scope="module")
def page(env: dict[str, str]) -> Iterator[Any]:
    """The notebook, run; `asked` are the hosts that the browser asked for anything."""
    with lab(Path(env["HOME"]), env) as url, browser() as opened:
        opened.asked = set()
        opened.on("request", lambda request: opened.asked.add(urlsplit(request.url).hostname))
        run_all(opened, url, NOTEBOOK)
        yield opened


@pytest.fixture
def guest(page: Any, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """This process beside the kernel that hosts the stack."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    bench = suite.start(attach=True)
    assert not bench.hosting
    yield bench
    bench.stop()


def panel(page: Any, name: str) -> Any:
    return page.locator(".jp-OutputArea-output", has=page.locator(".widget-vbox")).nth(PANELS.index(name)).locator(".widget-vbox").first


def wait_for(page: Any, within: Any, condition: str, argument: object = None) -> None:
    """Wait until the text of a panel meets a condition, JavaScript of `text` and `given`."""
    page.wait_for_function(f"([panel, given]) => {{ const text = panel.textContent; return {condition}; }}", arg=[within.element_handle(), argument])


def test_every_panel_is_drawn_and_its_numbers_move(page: Any, tmp_path: Path) -> None:
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    overview, memory, alerts, log = (panel(page, name) for name in PANELS)
    wait_for(page, overview, "['Service status', 'Request rate', 'Response times (p95)', 'Vector search', 'Memory in use', 'Processor in use']"
                             ".every(title => text.includes(title)) && !text.includes('no data yet')")
    wait_for(page, memory, "['Processors', 'unattributed', 'Cells that changed the memory most', '% full'].every(words => text.includes(words))")
    wait_for(page, alerts, "text.includes('targets up') && text.includes('rules are looked at')")
    wait_for(page, log, "text.includes('is up, profile smoke')")
    for moving in (overview, memory):  # processor and memory are never the same for long
        before = moving.text_content()
        wait_for(page, moving, "text !== given", before)
    for name in PANELS:
        picture = panel(page, name)
        picture.scroll_into_view_if_needed()
        shot = picture.screenshot(path=tmp_path / f"{name}.png")
        assert shot.startswith(b"\x89PNG") and len(shot) > 5000
        if os.environ.get("UPDATE_README") and name in PICTURES:
            shutil.copy(tmp_path / f"{name}.png", ROOT / "notebooks" / "images" / f"{name}.png")
    assert page.asked == {"127.0.0.1"}, "nothing is fetched from elsewhere"


def test_a_line_that_is_written_comes_into_the_log_and_a_text_narrows_it(page: Any, guest: Bench) -> None:
    log = panel(page, "log")
    guest.memory.remember("Where is the lamp?", "In the cellar.")
    wait_for(page, log, "text.includes('POST /v1/memory/conversations 200')")
    box = log.locator("input[type=text]")
    box.fill("is up, profile")
    box.press("Enter")
    wait_for(page, log, "text.includes('is up, profile smoke') && !text.includes('/v1/memory/')")
    assert box.input_value() == "is up, profile", "what was typed stays"
    guest.memory.remember("Where is the pan?", "It is lost.")
    box.fill("")
    box.press("Enter")
    wait_for(page, log, "text.split('POST /v1/memory/conversations 200').length >= 3")


def test_an_alert_is_silenced_with_a_reason_and_the_silence_ended(page: Any, guest: Bench) -> None:
    alerts = panel(page, "alerts")
    wait_for(page, alerts, "text.includes('BackupMissing')")
    row = alerts.locator(".widget-hbox", has_text="BackupMissing").first
    row.get_by_role("button", name="Silence").click()
    wait_for(page, alerts, "text.includes('Say why BackupMissing is silenced')")
    alerts.locator("input[type=text]").fill("the first backup runs tonight")
    alerts.locator("input[type=text]").press("Enter")
    row.get_by_role("button", name="Silence").click()
    wait_for(page, alerts, "text.includes('silenced until') && text.includes('the first backup runs tonight')")
    found = guest.monitoring.silences()
    assert found["matchers"].tolist() == [['alertname="BackupMissing"', 'severity="warning"']] and found["reason"].tolist() == ["the first backup runs tonight"]
    alerts.get_by_role("button", name="End").click()
    wait_for(page, alerts, "text.includes('nothing is silenced')")
    assert len(guest.monitoring.silences()) == 0


def test_the_panels_end_with_the_bench_in_one_sentence(page: Any, guest: Bench) -> None:
    assert main(["down"]) == 0
    for name in PANELS:
        wait_for(page, panel(page, name), "text.includes('This bench was stopped; call suite.start() for a new one.')")
    assert panel(page, "log").get_by_role("button", name="Follow").is_disabled()
