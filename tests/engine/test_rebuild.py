"""What is built again, and what is downloaded again, after a change."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.build_log import context_bytes, nothing_built, stages_built
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

ALL_BUT_PACKAGES = {"os", "builder", "base"}


@pytest.fixture
def same_files_again(torch_project: Project) -> Iterator[None]:
    """Give the project its files back, so that the next build takes all from the cache."""
    names = (".env", "dependencies/apt-dev.txt", "dependencies/apt-runtime.txt")
    before = {name: (torch_project.docker / name).read_text() for name in names}
    yield
    for name, text in before.items():
        torch_project.write(f"docker-amd64/{name}", text)
    torch_project.build()


def test_a_build_without_a_change_does_nothing(torch_project: Project) -> None:
    assert nothing_built(*[torch_project.build] * 3)


def test_one_more_dependency_downloads_only_itself_and_leaves_torch_alone(
    torch_project: Project, index: PackageIndex
) -> None:
    index.add("quiet-lamp")
    torch_project.ok("add", "--image", "quiet-lamp")
    with index.recording() as traffic:
        log = torch_project.build()
    # Others build meanwhile, so what was sent for this build is told by uv.
    assert traffic.downloads.count("quiet_lamp-1.0-py3-none-any.whl") == 1
    assert re.findall(r"Prepared (\d+ packages?)", log) == ["1 package"]
    built = stages_built(log)
    assert "deps" in built
    assert not built & {"deps-torch", "deps-heavy", *ALL_BUT_PACKAGES}
    assert torch_project.ok("run", "python", "-c", "import quiet_lamp; print('lit')") == "lit\n"


@pytest.mark.usefixtures("same_files_again")
def test_what_else_this_machine_decides_rebuilds_nothing(torch_project: Project) -> None:
    def decided(zone: str) -> Callable[[], str]:
        def build() -> str:
            torch_project.set_env(TZ=zone, SHM_SIZE="3gb", LOCAL_DATA_DIR="../outputs")
            return torch_project.build()

        return build

    assert nothing_built(decided("Europe/Paris"), decided("Asia/Tokyo"))


@pytest.mark.usefixtures("same_files_again")
def test_a_package_of_apt_rebuilds_no_environment_and_from_runtime_to_dev_only_dev_is_built(
    torch_project: Project,
) -> None:
    for name, program in (("runtime", "file"), ("dev", "tree")):
        with (torch_project.docker / f"dependencies/apt-{name}.txt").open("a") as file:
            # No other run on this engine had this file.
            file.write(f"{program}  # to look around, {time.time_ns()}\r\n")
    assert stages_built(torch_project.build("runtime")) == {"base", "publish", "runtime"}
    assert stages_built(torch_project.build("dev")) == {"dev"}
    for service, program in (("runtime", "file"), ("dev", "file"), ("dev", "tree")):
        image = torch_project.image(service)
        assert run("docker", "run", "--rm", image, program, "--version").returncode == 0


@pytest.mark.usefixtures("same_files_again")
def test_another_person_rebuilds_only_the_last_layer(torch_project: Project) -> None:
    layers = {service: history(torch_project.image(service)) for service in ("runtime", "dev")}
    # No other run on this engine had this number.
    number = str(random.randrange(20_000, 60_000))
    torch_project.set_env(USRID=number, GRPID=number, USR="someone")
    log = torch_project.build()
    assert stages_built(log) == {"runtime", "dev"}
    for service, before in layers.items():
        after = history(torch_project.image(service))
        assert [old == new for old, new in zip(before, after, strict=True)].count(False) == 1


def history(image: str) -> list[str]:
    inspect = ["docker", "image", "inspect", "--format", "{{join .RootFS.Layers `\n`}}", image]
    return run(*inspect).stdout.splitlines()


def test_packages_that_are_installed_anew_leave_the_layers_of_the_image_as_they_are(
    torch_project: Project,
) -> None:
    # As after an update of the template; the image, and what was pushed of it, stays.
    with (torch_project.docker / "image/bytecode.py").open("a") as file:
        file.write(f"# version {time.time_ns()} of the template\n")
    built = stages_built(torch_project.build("runtime"))
    assert {"builder", "deps-torch", "deps-heavy", "wheels"} <= built
    assert not {"base", "publish", "runtime"} & built


def test_python_compiles_nothing_at_its_start(torch_project: Project) -> None:
    # Nobody can write bytecode into the image, so it would do so at each start.
    compiled = (
        "import asyncio, logging, os, sys, torch\n"
        "cached = [getattr(module, '__cached__', None) for module in [*sys.modules.values()]]\n"
        "print([file for file in cached if isinstance(file, str) and not os.path.exists(file)])"
    )
    assert torch_project.ok("run", "python", "-c", compiled) == "[]\n"


def test_large_files_of_the_project_never_enter_the_build_context(torch_project: Project) -> None:
    folders = ("data", "docker-amd64", "docker-amd64/dependencies/../../outputs")
    large = [torch_project.write(f"{folder}/large.bin", "") for folder in folders]
    try:
        for file in large:
            with file.open("wb") as content:
                content.truncate(1024**3)
        assert context_bytes(torch_project.build()) < 100_000
    finally:
        for file in large:
            file.unlink()
