"""The configurator in a real browser: its answers are those of the command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page

from hooks.compat.table import load
from hooks.matcher.command import main
from hooks.matcher.verdicts import EXIT, Verdict
from tests.conftest import ROOT
from tests.support.browser import browsing
from tests.support.configurator import (
    SMI_LIST,
    asked,
    seconds_of_page,
    serving_page,
    some_answers,
    take_scene,
)
from tests.support.engine import need
from website.python import bundle
from website.python.answers import given
from website.python.machines import split_names
from website.python.questions import questionnaire

TABLE = load()
HOSTS = ROOT / "tests/fakes/hosts"
PATIENCE = 8.0  # CI's machines are that much slower than what the page promises
COMPARED = 300  # machines and choices on which page and command are compared


class Site(NamedTuple):
    """The page, and what it did that no page should do."""

    page: Page
    url: str
    folder: Path
    complaints: list[str]

    def open(self, link: str = "", address: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{address or self.url}{link}")
        self.settled()

    def settled(self) -> None:
        """Wait until what was typed last is answered."""
        self.page.wait_for_function("hearthTimes.settled")

    def text(self, name: str) -> str:
        return self.page.locator(f"#{name}").inner_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page from a server, with Python in it."""
    try:
        bundle.node()
    except bundle.BundleError as error:
        need(str(error))
    folder = tmp_path_factory.mktemp("site")
    complaints: list[str] = []
    with serving_page(folder) as url, browsing(1280, 900) as page:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if said.type in {"error", "warning"} else None
            ),
        )
        own = (
            url.removesuffix("configurator/index.html"),
            "data:",
            "blob:",
            "about:",
            folder.as_uri(),
        )
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(own) else complaints.append(asked.url),
        )
        yield Site(page, url, folder, complaints)


def test_the_first_answer_comes_soon_and_each_change_at_once(site: Site) -> None:
    took = seconds_of_page(site.page, site.url)
    print(took)
    assert took["link"][0] < 2 * PATIENCE
    assert took["page"][0] < 2 * PATIENCE
    assert statistics.median(took["change"]) < 0.05 * PATIENCE


def test_the_scene_of_the_picture_still_runs(site: Site) -> None:
    take_scene(site.page, site.url)
    assert site.text("verdict").startswith("✓")
    assert "driver 570" in site.text("what")
    assert "torch_version=" in site.text("command")


def test_the_page_says_how_much_it_loads(site: Site) -> None:
    site.open("#gpu=T4")
    (kilobytes,) = re.findall(r"\(([0-9]+) kB\)", site.text("loaded"))
    names = [name for name in bundle.HANDED if name.endswith(".packed")]
    compressed = sum((site.folder / "python" / name).stat().st_size for name in names) // 1000
    assert compressed < int(kilobytes) < compressed + 500


def some_machine(randomly: random.Random) -> dict[str, str]:
    names = randomly.sample([*TABLE.products], 1 if randomly.random() < 0.7 else 2)
    short = [re.sub(r"^NVIDIA |GeForce |Tesla ", "", name) for name in names]
    numbers = [*map(str, TABLE.branches), "550.54.15", "470.256.02", "580.95.05", ""]
    return {"gpus": ", ".join(short), "driver": randomly.choice(numbers)}


class Said(NamedTuple):
    status: int
    verdict: str
    layer: str
    why: str
    nearest: str


def said_by_command(state: dict[str, Any], told: dict[str, Any]) -> Said:
    """What `hearth match` says of a machine, and of the choice that the page has come to."""
    values = {name: str(value) for name, value in asked(told).items() if value != "none"}
    _, known = questionnaire().answer(given({**values, "extras": "", "clusters": ""}))
    words = ["--json", "--service", values["service"], "--flavour", known["flavour"]]
    options = {
        "torch_version": "--torch",
        "cuda_version": "--cuda",
        "python_version": "--python",
        "ngc_release": "--ngc",
        "linux_distro": "--distro",
        "package_manager": "--package-manager",
        "pytorch_build": "--build",
        "cca": "--cca",
    }
    for name, option in options.items():
        words += [option, values[name]] if name in values else []
    if asked(told).get("torch_version") == "none":  # a service alone would ask for its newest
        words += ["--torch", "none"]
    for name in split_names(state["gpus"]):
        words += ["--gpu", name]
    words += ["--driver", state["driver"]] if state["driver"] else []
    printed, refused = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(refused):
        status = main(words)
    if status == 2:
        return Said(status, "", "", refused.getvalue(), "")
    row = json.loads(printed.getvalue())
    nearest = row["nearest"]["text"] if row["nearest"] else ""
    return Said(status, row["verdict"], row["layer"] or "", f"{row['why']}.", nearest)


def test_page_and_command_agree(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # not in a project
    randomly = random.Random(f"page {os.environ['HEARTH_SEED']}")
    states = [
        {**some_machine(randomly), "answers": some_answers(randomly)} for _ in range(COMPARED)
    ]
    site.open()
    shown = site.page.evaluate(
        """async (states) => {
            const all = (name, some) => Promise.all(
                some.map((state) => hearthAsk(`website.python.answers:${name}`, state)));
            return [await all("answer", states), await all("more", states.slice(0, 20))];
        }""",
        states,
    )
    seen: dict[str, int] = {}
    for at, (state, told) in enumerate(zip(states, shown[0], strict=True)):
        values = asked(told)
        if values["accelerator"] == "cpu":
            continue  # nothing of it runs on a GPU, and nothing is judged
        said = said_by_command(state, told)
        if told["refused"]:
            assert said.status == 2, (state, told["refused"])
            continue
        assert (told["verdict"], told["layer"]) == (said.verdict, said.layer), state
        assert said.status == EXIT.get(Verdict(told["verdict"]), 0)
        seen[told["verdict"]] = seen.get(told["verdict"], 0) + 1
        if state["driver"]:
            assert told["why"] == said.why, state
            changes = (
                {one["title"]: one["text"] for one in shown[1][at]["changes"]} if at < 20 else {}
            )
            if at < 20:
                assert changes.get("Nearest that works", "") == said.nearest, state
    print(seen)
    assert {"works", "works_minor_compat", "fails", "unknown"} <= seen.keys()


def test_a_choice_is_a_link(site: Site) -> None:
    site.open("#gpu=2x+4090&driver=550")
    site.page.select_option("#q-service", "train")
    site.page.locator("input[name=extras][value=ci]").check()
    site.page.locator("input[name=extras][value=jupyter]").check()
    site.page.locator("#elsewhere").check()
    site.settled()
    command, verdict, link = site.text("command"), site.text("verdict"), site.page.url
    assert "extras=[ci, jupyter]" in command
    assert "target_gpus=" in command
    site.open("", link)
    assert (site.text("command"), site.text("verdict")) == (command, verdict)
    assert site.page.url == link
    assert site.page.input_value("#gpus") == "2x 4090"
    site.page.locator("#reset").click()
    site.settled()
    assert "service" not in site.page.url


def test_the_keyboard_is_enough(site: Site) -> None:
    site.open()
    page = site.page
    where = "document.activeElement.id || document.activeElement.tagName"

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(where) == name:
                return
        pytest.fail(f"Tab does not reach {name}")

    tab_to("gpus")
    page.keyboard.type("5090")
    page.keyboard.press("Escape")  # the list of names
    tab_to("driver")
    page.keyboard.type("570")
    page.keyboard.press("Escape")
    site.settled()
    assert site.text("verdict").startswith("✓")
    tab_to("command")
    tab_to("copy")
    tab_to("q-service")
    page.keyboard.type("train")
    site.settled()
    assert "service=train" in site.text("command")
    assert page.evaluate(where) == "q-service"
    tab_to("q-torch_version")
    tab_to("SUMMARY")
    page.keyboard.press("Enter")
    assert page.locator("#q-torch_version-reasons li").first.is_visible()


def test_a_screen_reader_hears_verdict_labels_and_reasons(site: Site) -> None:
    site.open("#gpu=5090&driver=570")
    page = site.page
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button")]
            .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel))
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    option = page.locator("#q-torch_version option", has_text="2.15.0")
    assert "fails on that machine" in option.inner_text()
    page.locator("#q-torch_version-reasons summary").click()
    assert "CUDA 13.2 needs driver 580" in site.text("q-torch_version-reasons")
    refused = page.locator("#q-cuda_version option:disabled").first
    assert "not possible" in refused.inner_text()
    page.locator("#q-cuda_version-reasons summary").click()
    label = refused.inner_text().removesuffix(" (not possible)")
    assert f"{label}: " in site.text("q-cuda_version-reasons")


CONTRAST = """() => {
    const parts = (color) => color.match(/[0-9.]+/g).map(Number);
    const light = (color) => parts(color).slice(0, 3).map((value) => value / 255)
        .map((value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (node) => {
        const color = getComputedStyle(node).backgroundColor;
        const opaque = (parts(color)[3] ?? 1) > 0;
        return opaque || !node.parentElement ? color : behind(node.parentElement);
    };
    const found = [];
    const texts = "h1, h2, h3, p, a, label, legend, button, pre, td, th, summary";
    for (const node of document.querySelectorAll(texts)) {
        if (!node.checkVisibility() || !node.textContent.trim()) continue;
        const pair = [light(getComputedStyle(node).color), light(behind(node))].sort();
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        if (ratio < 4.5) found.push(`${node.tagName} ${node.textContent.slice(0, 40)} ${ratio}`);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_by_day_and_night_and_on_a_phone(site: Site, scheme: Any) -> None:
    page = site.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    site.open("#gpu=5090&driver=570&torch_version=2.15.0")
    assert site.text("verdict").startswith("✗")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")


def test_what_nvidia_smi_prints_is_pasted(site: Site) -> None:
    site.open()
    site.page.evaluate(
        """(text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text", text);
            document.getElementById("gpus").dispatchEvent(
                new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
        }""",
        SMI_LIST,
    )
    site.page.wait_for_function("document.getElementById('gpus').value.includes('A100')")
    site.settled()
    assert "RTX 4090" in site.text("status")
    assert "A100-SXM4-80GB" in site.text("status")


def drop(site: Site, name: str, text: str) -> None:
    site.page.evaluate(
        """([name, text]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([text], name));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer, cancelable: true}));
        }""",
        [name, text],
    )


def test_a_host_that_is_dropped_is_judged(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    site.open("#service=train")
    file = HOSTS / "t4-cloud-vm.json"
    drop(site, file.name, file.read_text("utf-8"))
    site.page.wait_for_function("document.getElementById('gpus').value === 'Tesla T4'")
    site.settled()
    data = dict(re.findall(r"--data (\w+)=(\S+)", site.text("command")))
    words = ["--torch", data["torch_version"], "--cuda", data["cuda_version"], "--json"]
    words += ["--python", data["python_version"], "--service", "train", "--flavour", "base"]
    main(["--probe", str(file), *words, "--distro", "ubuntu24.04"])
    said = json.loads(capsys.readouterr().out)
    assert site.page.locator("#why").text_content() == f"{said['why']}."
    assert "t4-cloud-vm.json" in site.text("host")
    assert "Tesla" not in site.page.url.split("#")[0]
    site.page.locator("#forget").click()
    site.settled()
    assert not site.page.locator("#host").is_visible()


def test_a_report_of_doctor_that_is_dropped_is_shown(site: Site) -> None:
    site.open()
    row = {"id": "env-missing", "level": "error", "cause": "It is missing.", "evidence": "-"}
    drop(site, "d.json", json.dumps({"status": 2, "findings": [{**row, "command": "do it"}]}))
    site.page.locator("#findings dt").wait_for()
    assert "1 error" in site.text("doctor-summary")
    assert "do it" in site.text("findings")


def test_nonsense_in_the_page_gets_a_sentence(site: Site) -> None:
    site.open()
    site.page.fill("#gpus", "toaster")
    site.settled()
    assert "toaster is not" in site.text("gpus-error")
    assert site.page.get_attribute("#gpus", "aria-invalid") == "true"
    site.page.fill("#gpus", "5090")
    site.page.fill("#driver", "newest")
    site.settled()
    assert "is not a driver version" in site.text("driver-error")
    drop(site, "holiday.jpg", "\x89PNG")
    site.page.locator("#file-error:not(:empty)").wait_for()
    assert "none that this page can judge" in site.text("file-error")
    site.open("#servise=train")
    assert "Did you mean service?" in site.text("why")


def test_it_works_from_a_file(site: Site) -> None:
    address = (site.folder / "configurator/index.html").as_uri()
    site.open("#gpu=5090&driver=570", address)
    assert site.text("verdict").startswith("✓")
    print(f"from a file: {site.page.evaluate('hearthTimes.first'):.0f} ms")


def test_no_other_host_was_asked_and_nothing_was_complained_of(site: Site) -> None:
    assert site.complaints == []
