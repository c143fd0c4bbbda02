"""Adding, locking, upgrading and keeping packages."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pexpect
import pytest

from tests.engine.conftest import MakeProject
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.wheels import make_wheel

DEPENDENCIES = "docker-amd64/dependencies"
VERSION = "import importlib.metadata as m; print(m.version('{}'))"


@pytest.fixture(scope="module")
def packages(project: MakeProject) -> Project:
    """A project whose dependencies these tests change; each brings packages of its own."""
    new = project("packages", light=True)
    new.build()
    return new


def lock_of(project: Project) -> str:
    return (project.folder / DEPENDENCIES / "uv.lock").read_text()


def locked_versions(project: Project) -> dict[str, str]:
    return dict(re.findall(r'name = "(.+)"\nversion = "(.+)"', lock_of(project)))


def write_dependency(project: Project, requirement: str) -> None:
    """As a person does in an editor."""
    file = project.folder / DEPENDENCIES / "pyproject.toml"
    text = re.sub(r"(?m)^dependencies = \[", f'dependencies = ["{requirement}", ', file.read_text())
    project.write(f"{DEPENDENCIES}/pyproject.toml", text)


def test_the_first_build_makes_a_lock_with_hashes_that_belongs_to_the_person(
    packages: Project,
) -> None:
    lock = packages.folder / DEPENDENCIES / "uv.lock"
    assert lock.stat().st_uid == packages.owner.uid
    files = re.findall(r"(?m)^ *\{ url = .*\},?$", lock.read_text())
    assert files
    assert all("sha256:" in line for line in files)


def test_the_lock_keeps_versions_until_an_upgrade_of_that_package_is_asked_for(
    packages: Project, index: PackageIndex
) -> None:
    index.add("steady-river", "1.0")
    index.add("calm-lake", "1.0")
    packages.ok("add", "steady-river", "calm-lake")
    index.add("steady-river", "2.0")
    index.add("calm-lake", "2.0")
    version = ("run", "python", "-c", VERSION.format("steady-river"))

    packages.ok("clean")
    packages.build("runtime")
    assert packages.ok(*version) == "1.0\n"
    packages.ok("lock", "--check")
    packages.ok("lock")
    before = locked_versions(packages)
    assert before["steady-river"] == "1.0"

    packages.ok("lock", "--upgrade", "steady-river")
    assert locked_versions(packages) == before | {"steady-river": "2.0"}
    packages.build("runtime")
    assert packages.ok(*version) == "2.0\n"

    packages.ok("lock", "--upgrade")
    assert locked_versions(packages)["calm-lake"] == "2.0"


def test_a_dependency_written_by_hand_is_locked_by_the_next_build(
    packages: Project, index: PackageIndex
) -> None:
    index.add("by-hand")
    write_dependency(packages, "by-hand>=1")
    result = packages.sh("lock", "--check")
    assert result.returncode != 0
    assert "uv.lock does not match dependencies/pyproject.toml" in result.stderr
    packages.build("runtime")
    packages.ok("lock", "--check")
    assert packages.ok("run", "python", "-c", VERSION.format("by-hand")) == "1.0\n"


def test_plain_docker_build_refuses_a_stale_lock_with_the_command_to_run(
    packages: Project, index: PackageIndex
) -> None:
    index.add("not-locked")
    pyproject = packages.folder / DEPENDENCIES / "pyproject.toml"
    before, times = pyproject.read_text(), pyproject.stat()
    write_dependency(packages, "not-locked")
    try:
        arguments = [f"--build-arg={key}={value}" for key, value in index.env().items()]
        result = packages.owner.run(
            "docker", "build", "--target=runtime", *arguments, ".", cwd=packages.docker
        )
    finally:
        packages.write(f"{DEPENDENCIES}/pyproject.toml", before)
        os.utime(pyproject, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert result.returncode != 0
    assert "uv.lock does not match pyproject.toml. Run: ./template.sh lock" in result.stderr


def forge_hash(project: Project, wheel: str) -> None:
    """Change a hash of uv.lock, as one who replaces a file of the index cannot."""
    pattern = rf'({re.escape(wheel)}", hash = "sha256:)\w+'
    forged, changed = re.subn(pattern, rf"\g<1>{'0' * 64}", lock_of(project))
    assert changed == 1
    project.write(f"{DEPENDENCIES}/uv.lock", forged)


@pytest.mark.parametrize("kind", ["a dependency", "torch"])
def test_a_file_that_is_not_the_locked_one_is_refused(
    packages: Project, torch_project: Project, index: PackageIndex, kind: str
) -> None:
    project = torch_project if kind == "torch" else packages
    if kind == "torch":
        assert index.torch_wheel
        wheel = index.torch_wheel.name.replace("+", "%2B")
    else:
        index.add("often-forged")
        packages.ok("add", "often-forged")
        wheel = "often_forged-1.0-py3-none-any.whl"
    before = lock_of(project)
    forge_hash(project, wheel)
    try:
        result = project.sh("build", "runtime")
    finally:
        project.write(f"{DEPENDENCIES}/uv.lock", before)
    assert result.returncode != 0
    assert "Hash mismatch" in result.stderr
    assert "0" * 64 in result.stderr


def test_freeze_writes_what_was_installed_by_hand_and_only_after_showing_it(
    packages: Project, index: PackageIndex
) -> None:
    index.add("leaf-of-hand", "1.0")
    index.add("hand-made", "3.0", requires=["leaf-of-hand"])
    packages.build("dev")
    packages.ok("up")
    assert "Nothing is installed in dev that the files do not list." in packages.sh("freeze").stderr

    packages.ok("exec", "uv", "pip", "install", "hand-made")
    files = [packages.folder / DEPENDENCIES / name for name in ("pyproject.toml", "uv.lock")]
    before = [file.read_text() for file in files]
    result = packages.sh("freeze")
    assert re.search(r'(?m)^\+ +"hand-made==3.0",$', result.stdout)
    assert "leaf-of-hand" not in result.stdout
    assert result.stderr.endswith("Nothing is written without -y.\n")
    assert [file.read_text() for file in files] == before

    result = packages.sh("freeze", "-y")
    assert result.returncode == 0, result.stderr
    assert result.stderr.endswith(f"Written. Run: {packages.docker}/template.sh build\n")
    for file in files:
        assert (file.stat().st_uid, file.stat().st_gid) == (packages.owner.uid, packages.owner.gid)
    # The index is this machine's: the file that the team shares does not name it.
    assert index.url not in files[0].read_text()
    assert "Bringing dependencies/uv.lock up to date" not in packages.build("dev")
    packages.ok("up")
    assert packages.ok("exec", "python", "-c", VERSION.format("hand-made")) == "3.0\n"
    assert "Nothing is installed in dev that the files do not list." in packages.sh("freeze").stderr


def test_update_env_file_in_the_container_is_the_same_at_a_terminal(
    packages: Project, index: PackageIndex
) -> None:
    index.add("by-hand-inside")
    packages.build("dev")
    packages.ok("up")
    packages.ok("exec", "uv", "pip", "install", "by-hand-inside")
    pyproject = packages.folder / DEPENDENCIES / "pyproject.toml"
    for answer, written in (("n", False), ("y", True)):
        command = [*packages.owner.prefix(), str(packages.docker / "template.sh")]
        child = pexpect.spawn(
            command[0],
            [*command[1:], "exec", "update_env_file"],
            cwd=str(packages.folder),
            env=packages.owner.environment(),
            encoding="utf-8",
            timeout=240,
        )
        child.expect(r'\+ +"by-hand-inside==1\.0",\r\n')
        child.expect(r"Write this\? \[y/N\] ")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert ("by-hand-inside==1.0" in pyproject.read_text()) == written
    # exec tells the container what template.sh is called out here.
    assert f"Run: {command[-1]} build" in (child.before or "")


def test_a_dev_image_alone_shows_the_difference_and_how_to_apply_it(
    packages: Project, index: PackageIndex
) -> None:
    index.add("without-compose")
    packages.build("dev")
    # As an editor or a cluster starts it: no Compose, so no folder of the project.
    script = "uv pip install without-compose && update_env_file -y"
    options = ("--rm", f"--env=UV_DEFAULT_INDEX={index.env()['UV_DEFAULT_INDEX']}")
    result = run("docker", "run", *options, packages.image("dev"), "bash", "-c", script)
    assert result.returncode == 0, result.stderr
    assert re.search(r'(?m)^\+ +"without-compose==1.0",$', result.stdout)
    assert "in the project's folder: patch -p1 <my.diff" in result.stderr


def test_freeze_needs_a_dev_image_that_has_the_program(packages: Project) -> None:
    packages.build("dev")
    packages.ok("up")
    packages.ok("root", "mv", "/usr/local/bin/update_env_file", "/root/")
    result = packages.sh("freeze")
    packages.ok("root", "mv", "/root/update_env_file", "/usr/local/bin/")
    assert result.returncode == 1
    assert "The dev container has no update_env_file" in result.stderr
    assert result.stderr.rstrip().endswith("template.sh build dev")


def test_an_apt_package_installed_by_root_is_kept_by_freeze(packages: Project) -> None:
    packages.build("dev")
    packages.ok("up")
    packages.ok("root", "sh", "-c", "apt-get update -qq && apt-get install -qqy tree")
    list_of_apt = packages.folder / DEPENDENCIES / "apt-dev.txt"
    before = list_of_apt.read_text()
    assert re.search(r"(?m)^\+tree$", packages.ok("freeze"))
    assert list_of_apt.read_text() == before
    packages.ok("freeze", "-y")
    assert list_of_apt.read_text() == before + "tree\n"
    assert list_of_apt.stat().st_uid == packages.owner.uid
    assert "Nothing is installed in dev that the files do not list." in packages.sh("freeze").stderr


def test_what_is_added_for_development_is_in_dev_only_and_a_wheel_of_ones_own_in_both(
    packages: Project, index: PackageIndex
) -> None:
    index.add("only-dev")
    packages.ok("add", "--dev", "only-dev")
    folder = packages.folder / DEPENDENCIES / "wheels"
    folder.mkdir()
    wheel = make_wheel(folder, "of-a-file")
    packages.ok("add", "--image", f"wheels/{wheel.name}")
    packages.build()
    packages.ok("up")
    packages.ok("exec", "python", "-c", "import only_dev, of_a_file")
    packages.ok("run", "python", "-c", "import of_a_file")
    assert packages.sh("run", "python", "-c", "import only_dev").returncode == 1


def add_slowly(project: Project, address: str) -> subprocess.Popen[bytes]:
    """An `add` that waits for a server which says nothing, with its container."""
    words = [*project.owner.prefix(), str(project.docker / "template.sh"), "add"]
    process = subprocess.Popen(
        [*words, f"slow @ http://{address}/slow-1.0-py3-none-any.whl"],
        env=project.owner.environment(),
    )
    while not tools_of(project):
        assert process.poll() is None
    return process


def tools_of(project: Project) -> str:
    """The containers for packages that there are."""
    return project.compose("ps", "--all", "--quiet", "--no-trunc", "tools")


def test_a_killed_add_ends_its_container_and_of_many_at_once_each_that_was_accepted_is_there(
    packages: Project, index: PackageIndex
) -> None:
    host = str(urlsplit(index.url).hostname)
    with socket.create_server((host, 0)) as silent:
        address = f"{host}:{silent.getsockname()[1]}"
        with add_slowly(packages, address) as process:
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 128 + signal.SIGTERM
        assert tools_of(packages) == ""

        # Who is killed like that can end nothing: its container would write when it is answered.
        names = [f"river-{number}" for number in range(8)]
        for name in names:
            index.add(name)
        with add_slowly(packages, address) as process, ThreadPoolExecutor(9) as pool:
            upgrade = pool.submit(packages.sh, "lock", "--upgrade")
            added = pool.map(lambda name: packages.sh("add", name), names)
            process.kill()
            assert [one.returncode for one in (upgrade.result(), *added)] == [0] * 9
        assert tools_of(packages) == ""
    assert set(names) <= set(locked_versions(packages))
    assert "slow" not in locked_versions(packages)
    packages.ok("lock", "--check")


def of_others(project: Project) -> list[Path]:
    """The files of a project that do not belong to its person."""
    files = [project.folder, *project.folder.rglob("*")]
    return [file for file in files if file.lstat().st_uid != project.owner.uid]


def test_root_at_work_for_a_person_leaves_nothing_of_roots(
    packages: Project, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("by-root")
    index.add("by-the-person")
    (tmp_path / "root").mkdir()
    root = Person(0, 0, "root", tmp_path / "root")
    before = of_others(packages)  # what these tests themselves have made
    for user, package in ((root, "by-root"), (packages.owner, "by-the-person")):
        for words in (
            ["add", package],
            ["lock", "--upgrade"],
            ["build", "dev"],
            ["up"],
            ["exec", "touch", f"/workspace/{package}"],
            ["exec", "uv", "pip", "install", package],
            ["freeze"],
            ["run", "-d", "--name", "job", "sleep", "60"],
            ["ls"],
            ["stop", "job"],
            ["down"],
        ):
            result = packages.sh(*words, user=user)
            assert result.returncode == 0, f"{user.name}: {words}: {result.stderr}"
        assert of_others(packages) == before
