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


@contextmanager
def browsing(width: int = 1100, height: int = 640) -> Iterator[Page]:
    """A page of a browser that has seen nothing yet."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        need("there is no Chromium: apt-get install chromium")
    with sync_playwright() as driver:
        # Its sandbox needs what root, as which the tests may run, does not give it.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(60_000)
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
