"""What every test gets: isolation from personal settings, and the template as a release."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import jinja2
import plumbum
import pytest
import yaml
from copier import run_copy
from copier._main import Worker
from copier._user_data import AnswersMap
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from host.place import compose_project_name
from host.trusted import trust
from tests.support.engine import engine_problem, images_problem, need
from tests.support.forked import COMPILED
from tests.support.git import copy_working_tree, git
from tests.support.index import bridge_address, serving, standard_index
from tests.support.updates import replace

ROOT = Path(__file__).parents[1]
# Higher than any release, so that it is the newest; the real tags are below it.
SNAPSHOT_TAG = "v999.0.0"

# What a `make` that runs the tests tells one that a test starts: a person's shell has none of it.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


# How long an example takes says how busy the machine is. Tests that suppress more keep these.
settings.register_profile("hearth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hearth")

InGit = Callable[[Path], None]


@pytest.fixture(scope="session", autouse=True)
def _fast_copier() -> Iterator[None]:
    """Spare each copy, and each of the three that an update makes, half of its time."""
    original = jinja2.Environment.compile
    kept = COMPILED  # also by updates that run in copies of this process

    def compile_(
        self: jinja2.Environment,
        source: Any,
        name: Any = None,
        filename: Any = None,
        *flags: Any,
        **more: Any,
    ) -> Any:
        options = (self.trim_blocks, self.lstrip_blocks, self.keep_trailing_newline)
        # Not the path: each copy has a clone of its own, and only tracebacks tell it.
        key = (source, name, flags, tuple(more.items()), options, tuple(self.extensions))
        if key not in kept:
            kept[key] = original(self, source, name, filename, *flags, **more)
        return kept[key]

    def leave_mode(self: Worker, *_: Any) -> None:
        """Ask Git nothing: for each file, Copier starts it to read core.fileMode."""
        del self

    render, remember = Worker._render_template, Worker._answers_to_remember
    combine = vars(AnswersMap)["combined"].fget
    settled: dict[int, Any] = {}

    def render_settled(self: Worker) -> None:
        """Render with answers that do not change any more: Copier combines them for each path."""
        settled[id(self.answers)] = combine(self.answers)
        settled[id(self)] = remember(self)
        try:
            render(self)
        finally:
            del settled[id(self.answers)], settled[id(self)]

    def settled_or(compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda self: settled[id(self)] if id(self) in settled else compute(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "_render_template", render_settled)
        patch.setattr(Worker, "_answers_to_remember", settled_or(remember))
        patch.setattr(AnswersMap, "combined", property(settled_or(combine)))
        patch.setattr(jinja2.Environment, "compile", compile_)
        patch.setattr(Worker, "_sync_git_index_executable_bit", leave_mode)
        # The same parser in C, where PyYAML was built with it.
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        yield


class Generate(Protocol):
    """See the fixture `generate`."""

    def __call__(
        self, folder: Path, /, *, hook: bool = False, version: str | None = None, **answers: Any
    ) -> Path: ...


class SharedServer:
    """Of several test processes, the one that hands out tests serves packages for all of them."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.stack = contextlib.ExitStack()
        self.url = ""

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a test process the address, "" where there is no engine to build with."""
        if not self.url and not engine_problem():
            folder = Path(self.stack.enter_context(TemporaryDirectory(prefix="hearth-index-")))
            served = self.stack.enter_context(serving(standard_index(folder), bridge_address()))
            self.url = served.url
        node.workerinput["index"] = self.url

    def pytest_unconfigure(self) -> None:
        """Stop."""
        self.stack.close()


# Of the random histories; processes of xdist have it from the one that starts them.
os.environ.setdefault("HEARTH_SEED", str(random.randrange(10**6)))


def pytest_configure(config: pytest.Config) -> None:
    """Let the process that hands out tests serve packages."""
    # A shell starts what it puts into the background with Ctrl-C ignored, and so would all programs
    # that tests start and interrupt.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SharedServer(), "shared-server")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write down how the run ended, beside the names of what failed: .ci/second_try.py."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set("hearth/ended", int(exitstatus))


# Files of tests/engine that share something which one of them empties, and the unit of both: the
# second engine's cache of layers.
TOGETHER = {"test_gpus": "test_ci"}


def unit_of(node: str) -> str:
    """The file of a test, or the folder of files that share what they have started.

    Those of the engine are other units than files of the same name, which need not wait for images.

    Args:
        node: its id, such as tests/engine/airflow/test_files.py::test_a_name.
    """
    file = PurePosixPath(node.partition("::")[0])
    own = [one for one in file.parent.parts if one not in ("tests", "engine")]
    name = own[0] if own else file.stem
    return f"engine/{TOGETHER.get(name, name)}" if "engine" in file.parts else name


class Units(LoadFileScheduling):  # type: ignore[misc]  # its package has no types
    """Gives tests of one unit to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units:
    """Distribute by units, with --dist=loadfile, too."""
    return Units(config, log)


# Units of long tests, in the order in which they start: those at the end of a run are short, so
# that all processes have something to do to the end.
LONG_FAST = (
    "test_update_releases",
    "test_update_verb",
    "test_update_histories",
    "test_render",
    "test_update",
    "test_base_images",
    "test_ci",
)
LONG_ENGINE = (
    "airflow",
    "test_source_build",
    "test_conda",
    "test_base_image",
    "test_services",
    "test_conda_user",
    "test_daily_work",
    "test_slurm",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first; before those of the engine, what runs while its images are being made."""

    def place(item: pytest.Item) -> tuple[int, int]:
        engine = item.get_closest_marker("engine") is not None
        long = LONG_ENGINE if engine else LONG_FAST
        unit = unit_of(item.nodeid).removeprefix("engine/")
        if unit in long:
            return int(engine), long.index(unit)
        return 2 if engine else 3, 0

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_report_header() -> str:
    """Say which random histories this run has."""
    return f"HEARTH_SEED={os.environ['HEARTH_SEED']}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before its fixtures: skip, or fail, a test that needs an engine where there is none."""
    if item.get_closest_marker("engine"):
        need(engine_problem() or images_problem())


@pytest.fixture(scope="session", autouse=True)
def isolation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep out the person's Copier settings, Git configuration, and Git or Compose variables.

    Copier hands plumbum's copy of the environment to tasks and to Git; so both copies are changed.
    """
    folder = tmp_path_factory.mktemp("settings")
    (folder / "copier.yml").write_text("{}\n")
    (folder / "gitconfig").write_text(
        "[user]\n name = Test\n email = test@example.com\n[init]\n defaultBranch = main\n"
        # Tests run as root look into repositories of other users.
        "[safe]\n directory = *\n[commit]\n gpgSign = false\n[tag]\n gpgSign = false\n"
    )
    settings = {
        "COPIER_SETTINGS_PATH": str(folder / "copier.yml"),
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        environments: tuple[Any, Any] = (os.environ, plumbum.local.env)
        for environment in environments:
            for name in dict(environment):
                if name.startswith(("GIT_", "COMPOSE_")):
                    patch.delitem(environment, name)
            for name, value in settings.items():
                patch.setitem(environment, name, value)
        yield


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Give back the variables as they were: the hook sets some for what it starts.

    Which test comes next in a process differs from run to run.
    """
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, isolation: None) -> Path:
    """The working tree, committed or not, as a Git repository whose newest version is v999.0.0.

    Without what no project is made from: Copier clones it for each copy.
    """
    del isolation
    folder = tmp_path_factory.mktemp("template") / "hearth"
    git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(folder))
    for tag in git(folder, "tag").split():
        git(folder, "tag", "--delete", tag)
    copy_working_tree(ROOT, folder, without=("tests/", "docs/", ".ci/"))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "the working tree")
    git(folder, "tag", SNAPSHOT_TAG)
    return folder


@pytest.fixture(scope="session")
def releases(template: Path) -> dict[str, str]:
    """Versions and commits of RELEASES, oldest first; `template` has a tag vVERSION for each."""
    rows = [line.split() for line in (ROOT / "RELEASES").read_text().splitlines()]
    versions = {row[0]: row[1] for row in rows if row and not row[0].startswith("#")}
    for version, commit in versions.items():
        git(template, "tag", "--force", f"v{version}", commit)
    return versions


@pytest.fixture(scope="session")
def generate(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generate:
    """A function that generates a project, with defaults for what is not answered; see `Generate`.

    `hook=True` trusts the template and lets its hook fill .env; `version` is an older tag. Without
    the hook nothing depends on the machine: the same answers are rendered once, then copied.
    """
    rendered: dict[tuple[str, ...], Path] = {}
    store = tmp_path_factory.mktemp("rendered")

    def render(folder: Path, hook: bool, version: str | None, answers: dict[str, Any]) -> None:
        run_copy(
            str(template),
            folder,
            data=answers,
            vcs_ref=version,
            defaults=True,
            quiet=True,
            unsafe=hook,
            skip_tasks=not hook,
        )

    def copy(
        folder: Path, /, *, hook: bool = False, version: str | None = None, **answers: Any
    ) -> Path:
        if hook or folder.exists():
            render(folder, hook, version, answers)
            return folder
        # The name of the folder is the default of the project's; a test may tag other versions.
        tags = git(template, "for-each-ref", "refs/tags")
        key = (folder.name, version or "", tags, json.dumps(answers, sort_keys=True))
        if key not in rendered:
            render(folder, hook, version, answers)
            rendered[key] = store / str(len(rendered))
            shutil.copytree(folder, rendered[key], symlinks=True)
        else:
            shutil.copytree(rendered[key], folder, symlinks=True)
        return folder

    return copy


@pytest.fixture
def in_git() -> InGit:
    """A function that commits everything in a folder, which becomes a repository if it is none."""

    def commit(folder: Path) -> None:
        git(folder, "init", "--quiet")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", "a state of the project")

    return commit


@pytest.fixture
def own_template(template: Path, tmp_path: Path) -> Path:
    """A copy of the template that a test may change; its one version is the working tree."""
    folder = tmp_path / "hearth"
    # The tags of `releases` are there only after a test that wants them.
    git(tmp_path, "clone", "--quiet", "--no-tags", str(template), str(folder))
    git(folder, "tag", SNAPSHOT_TAG)
    return folder


@pytest.fixture(scope="session")
def filled_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trusted project of the template, which `project` copies."""
    folder = tmp_path_factory.mktemp("filled") / "project"
    run_copy(
        str(template),
        folder,
        data={"project_kind": "new"},
        vcs_ref=SNAPSHOT_TAG,
        defaults=True,
        quiet=True,
        unsafe=True,
    )
    return folder


@pytest.fixture
def project(
    template: Path, own_template: Path, filled_project: Path, tmp_path: Path, in_git: InGit
) -> Path:
    """A trusted project of `own_template`, everything committed."""
    folder = tmp_path / "project"
    shutil.copytree(filled_project, folder, symlinks=True)
    # All that tells where a project and its template are.
    was, is_now = (
        compose_project_name("x", "x", path / "docker-amd64")[-6:]
        for path in (filled_project, folder)
    )
    replace(folder / "docker-amd64/.env", f"-{was}\n", f"-{is_now}\n")
    replace(folder / "docker-amd64/.env", f":{filled_project}/", f":{folder}/")
    replace(folder / ".copier-answers.yml", f": {template}\n", f": {own_template}\n")
    trust(folder / "docker-amd64", str(own_template))
    in_git(folder)
    return folder
