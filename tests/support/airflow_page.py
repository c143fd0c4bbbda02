"""Airflow's page in a browser: what its user does there."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import urlsplit

from playwright.sync_api import Error, Locator, Page

from tests.support.project import Project

TRIES = 5
# A run of the example takes half a minute, more while this machine does other things.
RUN_LIMIT = 400_000  # milliseconds


def address_of(project: Project) -> str:
    """Where the page is, without a / at the end; starts Airflow, if it does not run."""
    return project.ok("airflow", "up").strip().rstrip("/")


def visit(page: Page, address: str) -> None:
    """Open an address. Chromium drops its connections when a container starts or ends."""
    for _ in range(TRIES):
        with suppress(Error):
            page.goto(address)
            return
    page.goto(address)


def log_in(page: Page, address: str, project: Project, password: str = "") -> None:
    """Enter name and password of a project, or another password."""
    users = json.loads((project.docker / ".airflow/passwords.json").read_text())
    ((user, own),) = users.items()
    visit(page, address)
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(password or own)
    page.get_by_role("button", name="Sign in").click()


def is_inside(page: Page, address: str) -> None:
    """Wait until somebody is let in."""
    page.wait_for_url(lambda url: urlsplit(url).path == "/" and url.startswith(address))


def trigger(page: Page, address: str, dag: str) -> str:
    """Start a run with its default parameters, as the page offers it; the address of its page."""
    visit(page, f"{address}/dags/{dag}")
    page.get_by_test_id("trigger-dag-button").click()
    page.get_by_test_id("trigger-dag-submit").click()
    page.wait_for_url(f"**/dags/{dag}/runs/*")
    return page.url


def open_task(page: Page, name: str) -> None:
    """Open the page of a task, from that of its run."""
    page.get_by_test_id("table-cell-task_display_name").get_by_text(name, exact=True).click()


def head(page: Page) -> Locator:
    """What stands above a run or a task, such as its state."""
    return page.get_by_test_id("header-card")


def wait_for_state(page: Page, state: str) -> None:
    """Wait for a state of the run or the task that is open, such as Success."""
    head(page).get_by_text(state, exact=True).wait_for(timeout=RUN_LIMIT)


def clear_task(page: Page) -> None:
    """Let the task that is open run again."""
    page.get_by_label("Press shift+c to clear").click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    page.get_by_role("dialog").wait_for(state="hidden")


def show_graph(page: Page) -> Locator:
    """Show tasks as boxes, which are returned, and what they wait for as lines."""
    page.get_by_label("Show Graph").click()
    boxes = page.locator("[data-testid^='rf__node-']")
    boxes.first.wait_for()
    return boxes


def show_grid(page: Page) -> None:
    """Show a row for each task, with a square for each run."""
    page.get_by_label("Show Grid").click()
    page.get_by_test_id("grid-view-button").wait_for()
