"""What is built again, and what is downloaded again, after a change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.build_log import context_bytes, stages_built
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

ALL_BUT_PACKAGES = {"os", "builder", "base"}


@pytest.fixture
def same_files_again(torch_project: Project) -> Iterator[None]:
    """Give the project its files back, so that the next build takes all from the cache."""
    names = (".env", "dependencies/apt-dev.txt")
    before = {name: (torch_project.docker / name).read_text() for name in names}
    yield
    for name, text in before.items():
        torch_project.write(f"docker-amd64/{name}", text)
    torch_project.build()


def test_a_build_without_a_change_does_nothing_and_downloads_nothing(
    torch_project: Project, index: PackageIndex
) -> None:
    # Meanwhile the engine may have dropped what the first build left: its cache has a limit.
    torch_project.build()
    with index.recording() as traffic:
        log = torch_project.build()
    assert stages_built(log) == set()
    assert traffic == []


def test_one_more_dependency_downloads_only_itself_and_leaves_torch_alone(
    torch_project: Project, index: PackageIndex
) -> None:
    index.add("quiet-lamp")
    torch_project.ok("add", "quiet-lamp")
    with index.recording() as traffic:
        log = torch_project.build()
    assert traffic.downloads == ["quiet_lamp-1.0-py3-none-any.whl"]
    assert traffic.bytes < 10_000
    built = stages_built(log)
    assert "deps" in built
    assert not built & {"deps-torch", *ALL_BUT_PACKAGES}
    assert torch_project.ok("run", "python", "-c", "import quiet_lamp; print('lit')") == "lit\n"


@pytest.mark.usefixtures("same_files_again")
def test_one_more_package_in_apt_dev_does_not_rebuild_the_environment(
    torch_project: Project, index: PackageIndex
) -> None:
    with (torch_project.docker / "dependencies/apt-dev.txt").open("a") as file:
        file.write("tree  # to look around\r\n")
    with index.recording() as traffic:
        log = torch_project.build()
    assert stages_built(log) == {"dev"}
    assert traffic == []
    image = torch_project.image("dev")
    assert run("docker", "run", "--rm", image, "tree", "--version").returncode == 0


@pytest.mark.usefixtures("same_files_again")
def test_another_person_rebuilds_only_the_last_layer(torch_project: Project) -> None:
    layers = {service: history(torch_project.image(service)) for service in ("runtime", "dev")}
    torch_project.set_env(USRID="4321", GRPID="4321", USR="someone")
    log = torch_project.build()
    assert stages_built(log) == {"runtime", "dev"}
    for service, before in layers.items():
        after = history(torch_project.image(service))
        assert [old == new for old, new in zip(before, after, strict=True)].count(False) == 1


def history(image: str) -> list[str]:
    inspect = ["docker", "image", "inspect", "--format", "{{join .RootFS.Layers `\n`}}", image]
    return run(*inspect).stdout.splitlines()


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
