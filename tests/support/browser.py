"""A browser: the machine's own Chromium, without a screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.support.engine import need

PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
KERNEL = ".jp-Toolbar-kernelName"
IDLE = ".jp-Notebook-ExecutionIndicator[data-status='idle']"  # "idle" is also "No Kernel"
NOTEBOOK = ".jp-LauncherCard[data-category='Notebook']"
TERMINAL = ".jp-LauncherCard[data-category='Other'][title^='Start a new terminal']"
PLOT = """\
import torch, matplotlib.pyplot as plt
x = torch.linspace(0, 6.28, 200)
plt.figure(figsize=(5, 2))
plt.plot(x, torch.sin(x)); plt.title(f"torch {torch.__version__}")"""

NARROW = 360  # CSS pixels of a small phone
LEAST_CONTRAST = 4.5
# The text of the pages that are programs.
TEXT_OF_PROGRAMS = "h1, h2, h3, p, a, label, legend, button, summary, li, th, td, dt, dd, pre, code"
SILENT = """() => [...document.images].filter((one) => !one.alt || !one.naturalWidth)
    .map((one) => `${one.src} has no alternative text, or is not there`)"""
# WCAG 2, contrast ratio: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
FAINT = """([words, least]) => {
    const parse = color => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const part = one => (one /= 255) <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = one => {
        for (; one; one = one.parentElement) {
            const color = parse(getComputedStyle(one).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const ratio = one => {
        const both = [parse(getComputedStyle(one).color), behind(one)].map(light);
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
    return [...document.querySelectorAll(words)]
        .filter((one) => one.textContent.trim() && one.checkVisibility() && ratio(one) < least)
        .map((one) => `"${one.textContent.trim().slice(0, 40)}" has a contrast of ${ratio(one)}`);
}"""


def unreadable(page: Page, words: str) -> list[str]:
    """What cannot be read of a page: pictures, text in light and dark, what a phone cuts off.

    Args:
        page: with the page open.
        words: the selector of its text.
    """
    found: list[str] = page.evaluate(SILENT)
    page.add_style_tag(content="* { transition: none !important; }")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        faint = page.evaluate(FAINT, [words, LEAST_CONTRAST])
        found += [f"{one} in {scheme}" for one in faint]
    page.emulate_media(color_scheme="light")
    before = page.viewport_size
    page.set_viewport_size({"width": NARROW, "height": 640})
    width = page.evaluate("document.documentElement.scrollWidth")
    found += [f"it is {width} pixels wide on a phone of {NARROW}"] if width > NARROW else []
    if before:
        page.set_viewport_size(before)
    return found


def chromium() -> str | None:
    """The path of the machine's Chromium."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def browsing(width: int = 1100, height: int = 640) -> Iterator[Page]:
    """A page of a browser that has seen nothing yet."""
    program = chromium()
    if not program:
        need("there is no Chromium: apt-get install chromium")
    with sync_playwright() as driver:
        # Its sandbox needs what root, as which the tests may run, does not give it.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(180_000)  # on a busy machine
        yield page
        browser.close()


def plot_in_notebook(page: Page, address: str) -> None:
    """Open JupyterLab, and run a cell of a new notebook that computes with torch and plots."""
    page.goto(address)
    page.locator(NOTEBOOK).first.click()
    cell = page.locator(".jp-Notebook .cm-content").first
    page.locator(KERNEL, has_text="Python").wait_for()  # JupyterLab drops what is run before
    page.locator(IDLE).wait_for()
    cell.click()
    page.keyboard.insert_text(PLOT)
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output img").first.wait_for()
    no_news = page.get_by_role("button", name="No", exact=True)
    if no_news.is_visible():
        no_news.click()


def open_terminal(page: Page, address: str) -> None:
    """Open JupyterLab, and a terminal in it."""
    page.goto(f"{address}&reset")  # else it shows what was open last
    page.locator(TERMINAL).first.click()
    page.locator(".xterm-screen").first.wait_for()


def take(page: Page, file: Path) -> None:
    """A picture of what the page shows."""
    page.screenshot(path=file)
