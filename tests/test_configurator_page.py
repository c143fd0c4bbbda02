"""What the configurator's page does with answers, files and keys: Python is beside the browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page

from tests.conftest import ROOT
from tests.support.browser import TEXT_OF_PROGRAMS, browsing, unreadable
from tests.support.configurator import SMI_WSL
from tests.support.serving import serving_folder
from website.python import answers

HOSTS = ROOT / "tests/fakes/hosts"
T4 = json.loads((HOSTS / "t4-cloud-vm.json").read_text("utf-8"))
RTX = json.loads((HOSTS / "rtx-50-workstation.json").read_text("utf-8"))
FOCUS = "document.activeElement.id || document.activeElement.tagName"
FAILS = "#gpu=5090&driver=570&torch_version=2.15.0"
LISTS = {"command": "pre", "plain": "pre", "changes": "article", "rows": "tr"}


class Configurator(NamedTuple):
    """The page, and the address that it is at."""

    page: Page
    url: str

    def open(self, link: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}{link}")
        self.settled()

    def follow(self, link: str) -> None:
        """Change the link of the page that is open, as a link in it and Back do."""
        self.page.evaluate("link => { hearthTimes.settled = false; location.hash = link; }", link)
        self.settled()

    def fill(self, field: str, text: str) -> None:
        self.page.fill(f"#{field}", text)
        self.settled()

    def settled(self) -> None:
        self.page.wait_for_function("hearthTimes.settled")

    def text(self, name: str) -> str:
        return self.page.locator(f"#{name}").text_content() or ""

    def drop(self, name: str, content: bytes) -> None:
        """Drop a file, and wait until the page has said something of it."""
        self.page.evaluate(
            """([name, text]) => {
                const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
                document.getElementById("file-error").textContent = "";
                document.getElementById("host-text").textContent = "";
                document.getElementById("doctor").hidden = true;
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], name));
                document.dispatchEvent(new DragEvent("drop", {dataTransfer, cancelable: true}));
            }""",
            [name, content.decode("latin-1")],
        )
        self.page.wait_for_function(
            """document.getElementById("file-error").textContent
                || document.getElementById("host-text").textContent
                || !document.getElementById("doctor").hidden"""
        )
        self.settled()

    def is_bare(self) -> bool:
        """Whether there is neither a command nor anything else of an answer that works."""
        return not any(
            self.text(name) for name in LISTS if name != "rows"
        ) and not self.page.is_visible("#services")


def ask(name: str, argument: Any) -> Any:
    return getattr(answers, name.removeprefix("website.python.answers:"))(argument)


@pytest.fixture(scope="module")
def configurator() -> Iterator[Configurator]:
    with serving_folder(ROOT / "website") as url, browsing(1280, 900) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.route(re.compile("/python/(ask|build)[.]js$"), lambda route: route.fulfill(body=""))
        page.expose_function("hearthAsk", ask)
        yield Configurator(page, f"{url}/configurator/index.html")
        assert said == []


@pytest.mark.parametrize("wrong", ["servise=train", "jit=maybe", "flavour=base"])
def test_a_link_that_is_refused_is_the_verdict(configurator: Configurator, wrong: str) -> None:
    name = wrong.partition("=")[0]
    configurator.open(f"#gpu=5090&driver=570&{wrong}")
    assert "link" in configurator.text("verdict")
    assert name in configurator.text("why")
    assert configurator.is_bare()
    configurator.fill("driver", "580")  # what is left out does not come back
    assert configurator.text("verdict").startswith("✓")
    assert configurator.text("command")
    assert wrong not in configurator.page.url


def test_a_link_that_is_refused_leaves_nothing_of_the_answer_before(
    configurator: Configurator,
) -> None:
    configurator.open(FAILS)
    assert configurator.page.locator("#changes article").count()
    assert configurator.page.is_visible("#services")
    configurator.follow("#gpu=5090&driver=570")
    assert configurator.text("command")
    configurator.follow(f"{FAILS}&servise=train")
    assert configurator.is_bare()
    assert configurator.text("verdict") != "Python is starting"


def test_python_that_fails_leaves_nothing_of_the_answer_before(configurator: Configurator) -> None:
    configurator.open("#gpu=5090&driver=570")
    configurator.page.evaluate("() => { hearthAsk = () => Promise.reject(Error('No memory')); }")
    configurator.fill("driver", "580")
    assert "No memory" in configurator.text("why")
    assert configurator.is_bare()


def test_an_older_question_that_fails_late_replaces_no_newer_answer(
    configurator: Configurator,
) -> None:
    configurator.open("#gpu=5090&driver=550")
    configurator.page.evaluate(
        """() => {
            const ask = hearthAsk;
            hearthAsk = () => {
                hearthAsk = ask;
                return new Promise((_, reject) => { globalThis.failLate = reject; });
            };
        }"""
    )
    configurator.page.fill("#driver", "575")
    configurator.fill("driver", "570")
    configurator.page.evaluate("failLate(new Error('late'))")
    assert configurator.text("verdict").startswith("✓")
    assert configurator.text("command")


def test_while_somebody_types_python_searches_nothing(configurator: Configurator) -> None:
    configurator.open("#gpu=5090&driver=570")
    # Each letter is answered before the next one; only the last is searched for.
    typed = """async text => {
        const [ask, asked] = [hearthAsk, []];
        const known = await ask("website.python.answers:answer", {gpus: "5090", driver: "570"});
        const found = await ask("website.python.answers:more", {gpus: "5090", driver: "570"});
        hearthAsk = async (name) => {
            asked.push(name.split(":")[1]);
            return name.endsWith(":more") ? found : known;
        };
        const field = document.getElementById("gpus");
        for (let at = 1; at <= text.length; at += 1) {
            field.value = text.slice(0, at);
            field.dispatchEvent(new Event("input"));
            await new Promise((resolve) => setTimeout(resolve, 0));
        }
        while (!hearthTimes.settled) await new Promise((resolve) => setTimeout(resolve, 20));
        return asked;
    }"""
    asked = configurator.page.evaluate(typed, "RTX 5090")
    assert asked == ["answer"] * 8 + ["more"]


def test_a_choice_that_fails_leads_to_the_lines_where_no_change_helps(
    configurator: Configurator,
) -> None:
    configurator.open("#gpu=GH200&driver=580")
    assert not configurator.page.locator("#changes article").count()
    assert "above" not in configurator.text("problem")
    assert configurator.text("plain")


@pytest.mark.parametrize("link", ["#gpu=5090&driver=580", FAILS, "#gpu=toaster", "#servise=ngc"])
def test_each_answer_can_be_read(configurator: Configurator, link: str) -> None:
    configurator.open(link)
    configurator.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = 1)")
    assert unreadable(configurator.page, TEXT_OF_PROGRAMS) == []


def test_what_is_taken_by_keyboard_leads_to_the_command(configurator: Configurator) -> None:
    configurator.open(FAILS)
    configurator.page.locator("#changes button").first.focus()
    configurator.page.keyboard.press("Enter")
    configurator.page.wait_for_function(f"({FOCUS}) === 'command'")
    configurator.settled()
    assert configurator.page.evaluate(FOCUS) == "command"
    assert configurator.text("command")
    configurator.fill("folder", "-x")
    configurator.page.locator("#rows button").last.focus()
    configurator.page.keyboard.press("Enter")
    configurator.page.wait_for_function(f"({FOCUS}) === 'verdict'")


def test_another_driver_and_another_link_forget_a_dropped_host(configurator: Configurator) -> None:
    host = json.dumps({**RTX, "driver": "535.1", "cuda": "12.2"}).encode()
    link = "#service=train&torch_version=2.6.0"
    configurator.open(link)
    configurator.drop("host.json", host)
    assert configurator.page.is_visible("#host")
    assert "535.1" in configurator.text("what")
    configurator.page.locator("#changes button").first.click()
    configurator.page.wait_for_function(f"({FOCUS}) === 'command'")
    assert not configurator.page.is_visible("#host")
    assert configurator.page.input_value("#driver") in configurator.text("what")
    configurator.drop("host.json", host)
    configurator.follow("#gpu=T4&driver=580")
    assert not configurator.page.is_visible("#host")
    assert configurator.text("what").endswith("Tesla T4 (7.5), driver 580")


# Windows PowerShell 5 writes UTF-16 with its mark, PowerShell 7 UTF-8, cmd what the program did.
CODINGS = ("utf-8", "utf-8-sig", "utf-16")


@pytest.mark.parametrize("coding", CODINGS)
def test_files_of_windows_are_read(configurator: Configurator, coding: str) -> None:
    configurator.open()
    configurator.drop("host.json", json.dumps(T4).encode(coding))
    assert configurator.page.input_value("#gpus") == "Tesla T4"
    report = (
        "> doctor\r\nfine: 3 checks\r\n\r\nerror: a-b\r\n  Why.\r\n  Mended: it is\r\n  done\r\n"
    )
    configurator.drop("doctor.txt", report.encode(coding))
    assert configurator.text("findings") == "error: a-bWhy.Mended: it is done"
    assert configurator.text("doctor-summary") == "Nothing is wrong with that machine."


def test_processes_of_a_pasted_table_are_not_gpus(configurator: Configurator) -> None:
    configurator.open()
    configurator.page.locator("#upload").evaluate("one => one.open = true")
    configurator.fill("pasted", SMI_WSL)
    configurator.page.wait_for_function("document.getElementById('driver').value === '571.96'")
    configurator.settled()
    names = "NVIDIA GeForce RTX 4090, NVIDIA RTX A2000"
    assert configurator.page.input_value("#gpus") == names
    assert configurator.text("gpus-error") == ""


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.bin", b"\x7fELF\0\0", "a.bin is binary"),
        ("a.txt", b"", "a.txt is empty"),
        ("a.txt", "nothing".encode("utf-16"), "none that this page can judge"),
    ],
)
def test_a_file_that_is_none_is_announced(
    configurator: Configurator, name: str, content: bytes, words: str
) -> None:
    configurator.open()
    configurator.drop(name, content)
    assert words in configurator.page.locator("#file-error[role=alert]").inner_text()
    assert configurator.text("file-error").endswith(".")


def test_a_large_file_is_refused_before_it_is_read(configurator: Configurator) -> None:
    configurator.open()
    configurator.page.evaluate("Blob.prototype.arrayBuffer = File.prototype.text = undefined")
    configurator.drop("a.log", b"x" * ((1 << 20) + 1))
    assert "larger than 1 MB" in configurator.text("file-error")


def test_errors_are_announced_and_named_at_their_fields(configurator: Configurator) -> None:
    configurator.open("#gpu=5090&driver=570&torch_version=2.15.0&folder=-x")
    page = configurator.page
    assert "./-x" in page.locator("#folder-error[role=alert]").inner_text()
    assert page.locator("#problem[role=alert]").inner_text()
    assert page.get_attribute("#folder", "aria-invalid") == "true"
    dangling = page.evaluate(
        """() => [...document.querySelectorAll("fieldset, input, select, textarea")]
            .filter((one) => one.type !== "checkbox")
            .filter((one) => !one.getAttribute("aria-describedby")?.split(" ")
                .every((id) => document.getElementById(id)))
            .map((one) => one.outerHTML)"""
    )
    assert dangling == []
    assert page.locator("#choices [name=extras]").count()
    assert not page.locator("#choices [name=target_gpus]").count()
