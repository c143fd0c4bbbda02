"""The pictures of docs/inside.md and docs/workflows.md: `make pictures` takes them.

Needs what the engine tests need, and Chromium. `ARGS=workflows` takes those of one page.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.bench import project, snapshot
from tests.conftest import ROOT
from tests.support import airflow_page as airflow
from tests.support.browser import browsing, open_terminal, plot_in_notebook, take
from tests.support.project import Project

PICTURES = ROOT / "docs/pictures"
# A loss that falls, as a training writes it.
TRAIN = """
import math, os, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
for run, rate in (("lr-0.1", 9), ("lr-0.01", 30)):
    writer = EventFileWriter(os.environ["OUTPUTS_DIR"] + "/" + run)
    for step in range(100):
        value = Summary.Value(tag="loss", simple_value=0.1 + 2 * math.exp(-step / rate))
        writer.add_event(Event(step=step, wall_time=time.time(), summary=Summary(value=[value])))
    writer.close()
"""


def picture_of_terminal(page: Page, address: str) -> None:
    """The prompt, in a terminal of JupyterLab."""
    open_terminal(page, address)
    page.locator(".xterm-screen").first.click()
    page.keyboard.type("python -c 'import torch; print(torch.__version__)'\n")
    page.wait_for_timeout(6000)  # what a terminal shows is no text of the page
    take(page, PICTURES / "prompt.png")


def take_inside(folder: Path) -> None:
    """The pictures of notebooks, TensorBoard and the prompt."""
    with project(folder, extras='["jupyter", "tensorboard"]') as (made, _):
        packages = made.docker / "dependencies/pyproject.toml"
        packages.write_text(packages.read_text().replace('"pytest",', '"pytest", "matplotlib",'))
        made.ok("build", "dev")
        made.ok("up")
        take_apps(made)


def take_apps(made: Project) -> None:
    """The pictures of a project whose dev container runs."""
    made.ok("exec", "git", "init", "--quiet", "--initial-branch", "main")
    made.ok("exec", "python", "-c", TRAIN)
    address = made.ok("jupyter").strip()
    with browsing() as page:
        plot_in_notebook(page, address)
        take(page, PICTURES / "notebook.png")
        picture_of_terminal(page, address)
        page.goto(made.ok("tensorboard").strip())
        page.get_by_text("loss").first.wait_for()
        page.wait_for_timeout(4000)  # it draws without saying when it is done
        take(page, PICTURES / "tensorboard.png")


def take_workflows(folder: Path) -> None:
    """The pictures of the example of workflows."""
    with project(folder, torch=False, extras='["airflow"]') as (made, _):
        address = airflow.address_of(made)
        try:
            take_runs(made, address)
        finally:
            made.ok("airflow", "down")


def take_runs(made: Project, address: str) -> None:
    """The pictures of two runs, and of what their tasks wait for."""
    with browsing(1200, 600) as page:
        airflow.log_in(page, address, made)
        airflow.is_inside(page, address)
        for _ in range(2):
            run = airflow.trigger(page, address, "example")
            airflow.wait_for_state(page, "Success")
        airflow.show_grid(page)
        page.wait_for_timeout(3000)  # it fills its list of tasks
        take(page, PICTURES / "workflows.png")
        page.set_viewport_size({"width": 1200, "height": 560})
        airflow.visit(page, run)
        airflow.show_graph(page)
        page.wait_for_timeout(3000)
        take(page, PICTURES / "workflows-graph.png")


PAGES = {"inside": take_inside, "workflows": take_workflows}


def main(names: list[str]) -> None:
    """Make projects, and take the pictures of these pages of docs/, or of all."""
    PICTURES.mkdir(exist_ok=True)
    for name in names or PAGES:
        folder = Path(tempfile.mkdtemp(prefix="hearth-pictures-"))
        folder.chmod(0o755)
        try:
            snapshot(folder / "hearth")
            PAGES[name](folder)
        finally:
            shutil.rmtree(folder)
    for file in sorted(PICTURES.glob("*.png")):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
