"""The pictures of README.md and docs/: `make pictures` takes them.

The terminals of tests/support/scenes.py need nothing, but for `build`. That and the pictures of a
browser need what the engine tests need, and Chromium; the configurator needs the site, which
`make site` builds. `ARGS='doctor gpus'` takes the pictures of some scenes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page

from tests.conftest import ROOT, SNAPSHOT_TAG
from tests.support import airflow_page as airflow
from tests.support import configurator, scenes
from tests.support.browser import browsing, open_terminal, plot_in_notebook, take
from tests.support.project import Project
from tests.support.serving import serving_folder
from tests.support.terminal import Terminal
from tests.support.timing import must, project, snapshot

PICTURES = ROOT / "docs/pictures"
SITE = ROOT / "website/out"  # what `make site` builds


class Picture(NamedTuple):
    """A file of docs/pictures, its alternative text, and the pages that show it."""

    scene: str
    file: str
    alt: str
    pages: tuple[str, ...]


TABLE = (
    Picture(
        "questions",
        "questions.svg",
        "Copier asks for CUDA: for the chosen PyTorch, versions that cannot work are greyed, each"
        " with its reason",
        ("docs/choose.md",),
    ),
    Picture(
        "match",
        "match.svg",
        "hearth match 5090 --driver 570: the newest that works in each service, lines to paste",
        ("README.md", "docs/match.md"),
    ),
    Picture(
        "doctor",
        "doctor.svg",
        "The doctor judges a server by a file: the driver is too old, and GPUs will be lost; each"
        " with the command that helps",
        ("README.md", "docs/doctor.md"),
    ),
    Picture(
        "gpus",
        "gpus.svg",
        "template.sh gpus lists two GPUs with memory, load, user and UUID, and marks those that"
        " containers get",
        ("docs/gpus.md",),
    ),
    Picture(
        "build",
        "build.svg",
        "A first build: template.sh build dev, and its last steps, each with the time that it took",
        ("docs/work.md",),
    ),
    Picture(
        "configurator",
        "configurator.png",
        "The configurator: a GPU and a driver are typed; the verdict, and the line to paste",
        ("docs/match.md",),
    ),
    Picture(
        "inside",
        "prompt.png",
        "The prompt, in a terminal of JupyterLab",
        ("docs/inside.md",),
    ),
    Picture(
        "inside",
        "notebook.png",
        "A notebook in which a cell computes with PyTorch and plots",
        ("docs/inside.md",),
    ),
    Picture(
        "inside",
        "tensorboard.png",
        "TensorBoard with the losses of two runs",
        ("docs/inside.md",),
    ),
    Picture(
        "workflows",
        "workflows.png",
        "A run of the example: a row for each task, and the state of each",
        ("docs/workflows.md",),
    ),
    Picture(
        "workflows",
        "workflows-graph.png",
        "Its graph: tasks, and what they wait for",
        ("docs/workflows.md",),
    ),
)
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


def save(name: str, terminal: Terminal) -> None:
    """Write the picture of a terminal."""
    (PICTURES / f"{name}.svg").write_text(terminal.svg(name))


def take_terminal(folder: Path, *, name: str) -> None:
    """The picture of a scene that needs no engine."""
    save(name, scenes.SCENES[name](folder / "hearth", folder))


def picture_of_terminal(page: Page, address: str, folder: Path, drawn: int) -> None:
    """The prompt, in a terminal of JupyterLab."""
    open_terminal(page, address)
    page.locator(".xterm-screen").first.click()
    page.keyboard.type("python -c 'import torch; print(torch.__version__)'\n")
    page.wait_for_timeout(drawn)  # what a terminal shows is no text of the page
    take(page, folder / "prompt.png")


def take_inside(folder: Path) -> None:
    """The pictures of notebooks, TensorBoard and the prompt."""
    with project(folder, extras='["jupyter", "tensorboard"]') as (made, _):
        packages = made.docker / "dependencies/pyproject.toml"
        packages.write_text(packages.read_text().replace('"pytest",', '"pytest", "matplotlib",'))
        made.ok("build", "dev")
        made.ok("up")
        take_apps(made, PICTURES)


def take_build(folder: Path) -> None:
    """The picture of a first build, of packages that are small."""
    with project(folder, torch=False) as (made, _):
        save("build", scenes.build(made))


def take_configurator(folder: Path) -> None:
    """The picture of the configurator, in which a GPU and a driver are typed."""
    del folder
    with serving_folder(SITE) as address, browsing(1100, 760) as page:
        configurator.take_scene(page, f"{address}/configurator/index.html")
        take(page, PICTURES / "configurator.png")


def take_apps(made: Project, folder: Path, drawn: int = 6000) -> None:
    """The pictures of a project whose dev container runs.

    Args:
        made: the project, with JupyterLab, TensorBoard and matplotlib.
        folder: where they are written.
        drawn: milliseconds after which a page has drawn what it does not say it has drawn.
    """
    made.ok("exec", "git", "init", "--quiet", "--initial-branch", "main")
    made.ok("exec", "python", "-c", TRAIN)
    address = made.ok("jupyter").strip()
    with browsing() as page:
        plot_in_notebook(page, address)
        take(page, folder / "notebook.png")
        picture_of_terminal(page, address, folder, drawn)
        page.goto(made.ok("tensorboard").strip())
        page.get_by_text("loss").first.wait_for()
        page.wait_for_timeout(drawn)
        take(page, folder / "tensorboard.png")


def take_workflows(folder: Path) -> None:
    """The pictures of the example of workflows."""
    with project(folder, torch=False, extras='["airflow"]') as (made, _):
        address = airflow.address_of(made)
        try:
            for _ in range(2):
                take_run(made, address, PICTURES)
        finally:
            made.ok("airflow", "down")


def take_run(made: Project, address: str, folder: Path, drawn: int = 3000) -> str:
    """The pictures of a run that the page starts, and of what its tasks wait for.

    Args:
        made: the project, whose Airflow runs and has the example.
        address: of Airflow's page.
        folder: where they are written.
        drawn: milliseconds after which the page has drawn what it does not say it has drawn.

    Returns:
        the address of the run's page.
    """
    with browsing(1200, 600) as page:
        airflow.log_in(page, address, made)
        airflow.is_inside(page, address)
        run = airflow.trigger(page, address, "example")
        airflow.wait_for_state(page, "Success")
        airflow.show_grid(page)
        page.wait_for_timeout(drawn)  # it fills its list of tasks
        take(page, folder / "workflows.png")
        page.set_viewport_size({"width": 1200, "height": 560})
        airflow.visit(page, run)
        airflow.show_graph(page)
        page.wait_for_timeout(drawn)
        take(page, folder / "workflows-graph.png")
    return run


TAKERS: dict[str, Callable[[Path], None]] = {
    **{name: partial(take_terminal, name=name) for name in scenes.SCENES},
    "build": take_build,
    "configurator": take_configurator,
    "inside": take_inside,
    "workflows": take_workflows,
}


def main(names: list[str]) -> None:
    """Make projects, and take the pictures of these scenes, or of all.

    Raises:
        SystemExit: there is no scene of one of the names, or the site is not built. It is said
            before a scene is made, because some take minutes.
    """
    unknown = sorted({*names} - {*TAKERS})
    if unknown:
        raise SystemExit(
            f"There is no scene {', '.join(unknown)}. Choose from {', '.join(TAKERS)}."
        )
    page = SITE / "configurator/index.html"
    if "configurator" in (names or TAKERS) and not page.is_file():
        raise SystemExit("The picture of the configurator needs the site. Run: make site")
    PICTURES.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="hearth-pictures-"))
    try:
        for name in names or TAKERS:
            scratch = folder / name
            scratch.mkdir()
            hearth = snapshot(scratch / "hearth")
            must("git", "tag", SNAPSHOT_TAG, cwd=hearth)
            folder.chmod(0o755)
            TAKERS[name](scratch)
    finally:
        shutil.rmtree(folder)
    for picture in TABLE:
        if not names or picture.scene in names:
            size = (PICTURES / picture.file).stat().st_size
            print(f"docs/pictures/{picture.file}: {size // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
