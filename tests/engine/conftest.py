"""What tests with a real container engine share; all of this folder carry the mark `engine`."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import Generate, unit_of
from tests.support.conda_channel import CondaChannels, serving_conda, standard_channel
from tests.support.engine import has_stand_ins, need
from tests.support.index import (
    PackageIndex,
    SharedIndex,
    bridge_address,
    serving,
    standard_index,
)
from tests.support.managed_python import cached_archive
from tests.support.project import Person, Project
from tests.support.registry import Registry, registry_problem
from tests.support.wheels import FAKE_TORCH, make_wheel

HERE = Path(__file__).parent
# A small project that this machine can build without the outside: the stand-in Python is a 3.11.
DEFAULTS = {
    "accelerator": "cpu",
    "torch_version": "none",
    "python_version": "3.11",
    "linux_distro": "debian-12",
}
SMALL_TORCH = "2.13.0"


class MakeProject(Protocol):
    """See the fixture `project`."""

    def __call__(
        self,
        name: str = "my-project",
        /,
        *,
        owner: Person | None = None,
        env: Mapping[str, str] | None = None,
        existing: Mapping[str, str] | None = None,
        shared: bool = False,
        packages: PackageIndex | None = None,
        light: bool = False,
        **answers: Any,
    ) -> Project: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in this folder; pytest hands over the items of all folders."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hearth-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def jane(open_folder: Path) -> Person:
    """A person with user and group 1234; where the tests are not root, the one who runs them."""
    uid, gid = (1234, 1234) if os.getuid() == 0 else (os.getuid(), os.getgid())
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, uid, gid)
    return Person(uid, gid, "jane", home)


def known_person(home: Path, uid: int, *more: tuple[str, str]) -> Person:
    """Somebody with a new home whom this machine's user database knows, as some programs want it.

    Where the tests are not root, it is the one who runs them.
    """
    user = pwd.getpwuid(uid if os.getuid() == 0 else os.getuid())
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    return Person(user.pw_uid, user.pw_gid, user.pw_name, home, more)


@pytest.fixture(scope="session")
def index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PackageIndex]:
    """The package index for builds: one for all test processes, so add new names only."""
    if url := getattr(request.config, "workerinput", {}).get("index"):
        yield SharedIndex(url)
    else:
        with serving(standard_index(tmp_path_factory.mktemp("index")), bridge_address()) as served:
            yield served


@pytest.fixture(scope="module")
def small_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    """An index whose torch is a few lines: with PyTorch itself, each build takes a minute more."""
    folder = tmp_path_factory.mktemp("small-torch")
    text = FAKE_TORCH.replace("0+fake", SMALL_TORCH)
    wheel = make_wheel(folder, "torch", SMALL_TORCH, files={"torch/__init__.py": text})
    content = PackageIndex(folder, wheel, cached_archive() if has_stand_ins() else None)
    with serving(content, bridge_address()) as served:
        yield served


@pytest.fixture(scope="session")
def own_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    """An index of one test process, to offer other packages under names that are known."""
    with serving(standard_index(tmp_path_factory.mktemp("index")), bridge_address()) as served:
        yield served


@pytest.fixture(scope="session")
def conda_channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CondaChannels]:
    """The channel conda-forge for builds; who changes it, changes it for all: publish new names."""
    content = CondaChannels(tmp_path_factory.mktemp("conda") / "channels", standard_channel())
    with serving_conda(content, bridge_address()):
        yield content


@pytest.fixture(scope="session")
def torch_version(index: PackageIndex) -> str:
    """The release of the CPU torch that the index has, such as 2.13.0."""
    if index.torch_version is None:
        need("PIP_FIND_LINKS names no folder with a CPU build of torch for Python 3.11")
    return str(index.torch_version)


@pytest.fixture(scope="session")
def projects_of_module() -> list[Project]:
    """What `project` made in the module that runs."""
    return []


@pytest.fixture(scope="session")
def project(
    open_folder: Path,
    generate: Generate,
    index: PackageIndex,
    jane: Person,
    projects_of_module: list[Project],
) -> Iterator[MakeProject]:
    """A function that generates a project whose .env its owner filled and pointed to the index.

    Args of the function:
        name: the folder's name; blanks are welcome.
        owner: whose files they are; jane by default.
        env: further lines of .env.
        existing: files that were there before Hearth, path to text.
        shared: whether other modules use it too.
        packages: another index for its builds.
        light: without compilers and most tools, which take a minute to install on a base image
            that no other test builds on.
        answers: answers other than `DEFAULTS`; None leaves a question to its own default.

    What a project leaves in the engine (containers, volumes, images) is removed with the module
    that made it, since the disk holds few of them at a time; that of a shared one at the very end.
    """

    shared_projects: list[Project] = []

    def make(
        name: str = "my-project",
        /,
        *,
        owner: Person | None = None,
        env: Mapping[str, str] | None = None,
        existing: Mapping[str, str] | None = None,
        shared: bool = False,
        packages: PackageIndex | None = None,
        light: bool = False,
        **answers: Any,
    ) -> Project:
        source = packages or index
        person = owner or jane
        folder = Path(tempfile.mkdtemp(dir=open_folder)) / name
        for path, text in (existing or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        asked = {name: value for name, value in (DEFAULTS | answers).items() if value is not None}
        generate(folder, **asked)
        pyproject = folder / "docker-amd64/dependencies/pyproject.toml"
        if pyproject.exists():
            source.replace_pytorch_index(pyproject)
        if light:
            lighten(folder / "docker-amd64/dependencies")
        if answers.get("package_manager") == "conda":
            dockerfile = folder / "docker-amd64/Dockerfile"
            text = dockerfile.read_text()
            dockerfile.write_text(text.replace("id=conda-downloads,", f"id={conda_cache()},"))
        give(folder.parent, person)
        new = Project(folder, person)
        (shared_projects if shared else projects_of_module).append(new)
        new.ok("env")
        new.set_env(**source.env() | dict(env or {}))
        return new

    yield make
    _remove(shared_projects)


@pytest.fixture(scope="module", autouse=True)
def _remove_what_the_module_made(projects_of_module: list[Project]) -> Iterator[None]:
    yield
    _remove(projects_of_module)
    projects_of_module.clear()


def _remove(projects: list[Project]) -> None:
    for old in projects:
        old.owner.run(
            *("docker", "compose", "--profile", "*", "down"),
            *("--volumes", "--remove-orphans", "--rmi", "all", "--timeout", "1"),
            cwd=old.docker,
        )
        # What each build left behind when the next one took its name.
        label = f"label=com.docker.compose.project={old.engine_name}"
        prune = ("docker", "image", "prune", "--force", "--filter", label)
        old.owner.run(*prune, cwd=old.docker)


@pytest.fixture(scope="session")
def torch_project(project: MakeProject, torch_version: str) -> Project:
    """A project with PyTorch for the CPU, both images built; whoever changes a file restores it."""
    new = project(torch_version=torch_version, shared=True)
    new.build()
    return new


@pytest.fixture(scope="session")
def cluster_project(project: MakeProject, torch_version: str) -> Project:
    """A project with PyTorch for jobs on clusters, the image runtime built; used likewise."""
    new = project(torch_version=torch_version, clusters=["slurm"], shared=True)
    new.build("runtime")
    return new


@pytest.fixture(scope="session")
def plain_project(project: MakeProject) -> Project:
    """A project without PyTorch in a folder with blanks, both images built; used likewise."""
    new = project("a plain project", shared=True)
    new.build()
    return new


def conda_cache() -> str:
    """The cache of conda packages of the unit that runs, in place of the one of all projects.

    While a build of another test process has that mounted, BuildKit gives it to others read-only:
    they download again what a test counts.
    """
    unit = unit_of(os.environ["PYTEST_CURRENT_TEST"]).rpartition("/")[2]
    return f"conda-downloads-{unit}"


def lighten(dependencies: Path) -> None:
    """Shorten the lists of a new project: to build it then takes less time."""
    (dependencies / "apt-build.txt").write_text("")
    (dependencies / "apt-dev.txt").write_text("git\n")
    pyproject = dependencies / "pyproject.toml"
    if pyproject.exists():
        pyproject.write_text(re.sub(r'    "(ipython|ruff)",\n', "", pyproject.read_text()))


def give(folder: Path, person: Person) -> None:
    """Make a folder and all in it a person's."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, person.uid, person.gid, follow_symlinks=False)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that takes everything from everybody."""
    need(registry_problem())
    server = Registry(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()
    server.forget()
