"""The pictures of docs/inside.md: `make pictures` takes them of a real project.

Needs what the engine tests need, and Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.bench import project, snapshot
from tests.conftest import ROOT
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


def take_all(made: Project) -> None:
    """All pictures of a project whose dev container runs."""
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


def main() -> None:
    """Make a project, and take the pictures of it."""
    folder = Path(tempfile.mkdtemp(prefix="hearth-pictures-"))
    folder.chmod(0o755)
    PICTURES.mkdir(exist_ok=True)
    try:
        snapshot(folder / "hearth")
        with project(folder, extras='["jupyter", "tensorboard"]') as (made, _):
            packages = made.docker / "dependencies/pyproject.toml"
            packages.write_text(
                packages.read_text().replace('"pytest",', '"pytest", "matplotlib",')
            )
            made.ok("build", "dev")
            made.ok("up")
            take_all(made)
    finally:
        shutil.rmtree(folder)
    for file in sorted(PICTURES.glob("*.png")):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
