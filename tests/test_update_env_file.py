"""What is installed by hand in dev finds its way into the dependency files, and nothing else."""

from __future__ import annotations

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import conda_lock
import installed_conda
import installed_pip
import update_env_file
from tests.conftest import ROOT
from tests.support.process import run
from tests.support.wheels import make_wheel
from update_env_file import Places, Stop

PROGRAMS = [Path(installed_pip.__file__), Path(installed_conda.__file__)]
UV = Path(sys.executable).parent / "uv"
NOTHING = "Nothing is installed in dev that the files do not list.\n"
PYPROJECT = """\
# This comment stays.
[project]
name = "my-dependencies"
requires-python = ">=3.10"
version = "0"
dependencies = ["listed"]

[dependency-groups]
dev = ["only-dev"]

[tool.uv]
package = false
"""
# Stands for the real program, which has tests of its own; it is enough to see what it is given.
CONDA_ENV = """\
import sys
from pathlib import Path
assert sys.argv[1] == "add"
pip, dev = "--pip" in sys.argv, "--dev" in sys.argv
for spec in sys.argv[2 + pip + dev:]:
    if spec == "impossible=1":
        sys.exit("conda_env: The version of impossible is an answer.")
    with open("environment-dev.yml" if dev else "environment.yml", "a") as file:
        file.write(f"  - {'PIP ' * pip}{spec}\\n")
"""


class Terminal(io.StringIO):
    """Standard input with a person who answers."""

    def isatty(self) -> bool:
        return True


class Container:
    """The files of a dev container, with `uv`, `apt-mark` and an index of packages."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.folder = folder
        self.dependencies = folder / "dependencies"
        self.pypi = folder / "pypi"
        self.places = Places(self.dependencies, folder / "venv", folder / "container", folder / "b")
        for path in (self.dependencies, self.pypi, self.places.container, folder / "bin"):
            path.mkdir()
        self.apt("git\n", "git\n")
        self.write("apt-dev.txt", "git\n")
        for name in [name for name in os.environ if name.startswith(("UV_", "TEMPLATE_"))]:
            patch.delenv(name)
        for name, value in {
            "PATH": f"{folder / 'bin'}:{UV.parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.places.venv),
            "UV_PROJECT_ENVIRONMENT": str(self.places.venv),
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_DEFAULT_INDEX": self.pypi.as_uri(),
        }.items():
            patch.setenv(name, value)

    def program(self, name: str, text: str) -> None:
        """Put a program before all others."""
        file = self.folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)

    def apt(self, of_image: str, now: str) -> None:
        """What apt-mark says were asked for: when the image was built, and now."""
        (self.places.container / "apt-manual.txt").write_text(of_image)
        self.program("apt-mark", f"#!/bin/sh\nprintf %s '{now}'\n")

    def write(self, name: str, text: str) -> None:
        (self.dependencies / name).write_bytes(text.encode())

    def read(self, name: str) -> str:
        return (self.dependencies / name).read_bytes().decode()

    def offer(self, name: str, version: str = "1.0", requires: Iterable[str] = ()) -> None:
        """Put a wheel into the index."""
        folder = self.pypi / name
        folder.mkdir(exist_ok=True)
        make_wheel(folder, name, version, requires)
        wheels = [path.name for path in sorted(folder.glob("*.whl"))]
        (folder / "index.html").write_text("".join(f'<a href="{w}">{w}</a>\n' for w in wheels))

    def uv(self, *arguments: str) -> str:
        """What a person does with uv, in the folder of the dependencies."""
        python = ["--python", str(self.places.venv / "bin/python")] if arguments[0] == "pip" else []
        result = run(UV, *arguments, *python, cwd=self.dependencies)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def update(self, *arguments: str, answer: str | None = None) -> int:
        """Run the program; with an answer there is a terminal."""
        self.patch.setattr(sys, "stdin", io.StringIO() if answer is None else Terminal(answer))
        conda = (self.places.venv / "conda-meta").is_dir()
        changes = (installed_conda if conda else installed_pip).package_changes
        return update_env_file.main(list(arguments), self.places, changes)

    # --- conda ---

    def conda(self, name: str, version: str = "1.0", asked: str = "", **more: Any) -> None:
        """A record of micromamba."""
        folder = self.places.venv / "conda-meta"
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "name": name,
            "version": version,
            "build": "0",
            "channel": "https://conda.anaconda.org/conda-forge/linux-64",
            "depends": [],
            "files": [],
            "requested_spec": asked,
        }
        for old in folder.glob(f"{name}-*.json"):
            old.unlink()
        (folder / f"{name}-{version}-0.json").write_text(json.dumps(record | more))

    def pip(
        self,
        name: str,
        version: str = "1.0",
        installer: str = "pip",
        requires: Iterable[str] = (),
        direct: dict[str, Any] | None = None,
    ) -> str:
        """A distribution in the environment of conda; gives the path that a record would have."""
        path = f"lib/python3.12/site-packages/{name}-{version}.dist-info"
        folder = self.places.venv / path
        folder.mkdir(parents=True)
        lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}"
        (folder / "METADATA").write_text(about)
        (folder / "INSTALLER").write_text(f"{installer}\n")
        if direct:
            (folder / "direct_url.json").write_text(json.dumps(direct))
        return f"{path}/METADATA"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    """A container of the pip way in which all is installed as it is locked."""
    container = Container(tmp_path, monkeypatch)
    container.offer("leaf")
    container.offer("listed", requires=["leaf"])
    container.offer("only-dev")
    container.write("pyproject.toml", PYPROJECT)
    container.uv("venv", "--quiet", "--python", sys.executable, str(container.places.venv))
    container.uv("lock")
    container.uv("sync", "--frozen", "--all-groups")
    return container


@pytest.fixture
def conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    """A container of the conda way in which all is installed as it is locked."""
    container = Container(tmp_path, monkeypatch)
    container.write("environment.yml", "name: mine\ndependencies:\n  - python=3.12.*\n  # Yours:\n")
    container.write("environment-dev.yml", "dependencies:\n  - pytest\n")
    prefix = "https://conda.anaconda.org/conda-forge"
    lines = [
        "# platform: linux-64",
        "@EXPLICIT",
        f"{prefix}/linux-64/python-3.12.1-h1_0.conda#sha256:{'0' * 64}",
        f"{prefix}/noarch/with-dash-2.0-pyh_1.tar.bz2#sha256:{'0' * 64}",
        f"{prefix}/linux-64/libfoo-1.0-0.conda#sha256:{'0' * 64}",
    ]
    container.write("conda.lock", "\n".join(lines) + "\n")
    (container.places.container / "conda_env.py").write_text(CONDA_ENV)
    for name, version in (("python", "3.12.1"), ("with-dash", "2.0"), ("libfoo", "1.0")):
        container.conda(name, version, asked=f"{name}=={version}=0", depends=["libfoo >=1"])
    # No Python of the machine is in this environment, and no uv is asked.
    container.program("uv", "#!/bin/sh\nexit 1\n")
    return container


# --- the pip way ---------------------------------------------------------------------------------


def test_nothing_to_say_where_all_is_as_it_is_locked(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dev.update() == 0
    assert capfd.readouterr() == ("", NOTHING)


def test_what_was_installed_by_hand_is_shown_written_and_then_known(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    dev.offer("brought-along")
    dev.offer("by-hand", "3.0", ["brought-along"])
    dev.uv("pip", "install", "by-hand")
    before = dev.read("pyproject.toml"), dev.read("uv.lock")
    assert dev.update() == 0
    shown, said = capfd.readouterr()
    assert '+    "by-hand==3.0",\n' in shown
    assert "brought-along" not in shown
    assert "uv.lock gets brought-along 1.0, by-hand 3.0.\n" in said
    assert said.endswith("Nothing is written without -y.\n")
    assert (dev.read("pyproject.toml"), dev.read("uv.lock")) == before

    assert dev.update("-y") == 0
    assert capfd.readouterr().err.endswith("Written. Run outside: ./template.sh build\n")
    assert dev.read("pyproject.toml").startswith("# This comment stays.\n")
    assert dev.pypi.as_uri() not in dev.read("pyproject.toml")
    assert "[[tool.uv.index]]" not in dev.read("pyproject.toml")
    dev.uv("lock", "--check")
    times = [(dev.dependencies / name).stat().st_mtime_ns for name in ("pyproject.toml", "uv.lock")]
    assert times == sorted(times)
    assert {path.name for path in dev.dependencies.iterdir()} == {
        "apt-dev.txt",
        "pyproject.toml",
        "uv.lock",
    }
    assert dev.update() == 0
    assert capfd.readouterr().err == NOTHING


def test_the_diff_can_be_applied_outside(dev: Container, capfd: pytest.CaptureFixture[str]) -> None:
    dev.offer("by-hand")
    dev.uv("pip", "install", "by-hand")
    dev.apt("git\n", "git\ntree\n")
    dev.write("apt-dev.txt", "git")  # without a newline at its end
    dev.update()
    diff = capfd.readouterr().out
    project = dev.folder / "project"
    outside = project / update_env_file.FOLDER
    outside.mkdir(parents=True)
    for name in ("pyproject.toml", "apt-dev.txt"):
        (outside / name).write_text(dev.read(name))
    result = run("git", "apply", "-", cwd=project, input=diff)
    assert result.returncode == 0, result.stderr
    dev.update("-y")
    for name in ("pyproject.toml", "apt-dev.txt"):
        assert (outside / name).read_text() == dev.read(name)


@pytest.mark.parametrize(("answer", "written"), [("y\n", True), ("yes\n", True), ("\n", False)])
def test_a_person_at_a_terminal_is_asked(
    dev: Container, capfd: pytest.CaptureFixture[str], answer: str, written: bool
) -> None:
    dev.apt("git\n", "git\ntree\n")
    assert dev.update(answer=answer) == 0
    assert "Write this? [y/N] " in capfd.readouterr().err
    assert dev.read("apt-dev.txt") == ("git\ntree\n" if written else "git\n")


def test_a_version_that_was_changed_by_hand_is_wanted_even_of_what_came_along(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    dev.offer("leaf", "2.0")
    dev.uv("pip", "install", "leaf==2.0")
    dev.update("-y")
    shown, said = capfd.readouterr()
    assert '+    "leaf==2.0",\n' in shown
    assert "uv.lock gets leaf 2.0 and loses leaf 1.0.\n" in said


def test_what_was_removed_is_named_and_stays_in_the_files(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    dev.uv("pip", "uninstall", "listed", "leaf", "only-dev")
    before = dev.read("pyproject.toml")
    assert dev.update("-y") == 0
    assert capfd.readouterr().err == (
        "Not installed any more: listed, only-dev. To remove one for good, delete its line in "
        f"pyproject.toml.\n{NOTHING}"
    )
    assert dev.read("pyproject.toml") == before
    # What the base image brings is locked and never in the environment.
    dev.places.base.mkdir()
    (dev.places.base / "names.txt").write_text("listed\nonly-dev\n")
    dev.update()
    assert capfd.readouterr().err == NOTHING


def test_an_editable_install_is_left_out_and_so_is_everything_from_a_folder(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    project = '[project]\nname = "{}"\nversion = "1"\n[build-system]\nrequires = []\n'
    backend = 'build-backend = "backend"\nbackend-path = ["."]\n'
    for name in ("my-project", "my-copy"):
        folder = dev.folder / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(project.format(name) + backend)
        (folder / "backend.py").write_text(
            "import sys\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path\n"
            "from tests.support.wheels import make_wheel\n"
            "def build_wheel(folder, *_):\n"
            f"    return make_wheel(Path(folder), {name!r}, '1').name\n"
            "build_editable = build_wheel\n"
        )
    dev.uv("pip", "install", "--editable", str(dev.folder / "my-project"))
    dev.uv("pip", "install", str(dev.folder / "my-copy"))
    assert dev.update("-y") == 0
    assert capfd.readouterr().err == (
        "my-copy is left out: it comes from a folder of this container, "
        f"{(dev.folder / 'my-copy').as_uri()}.\n{NOTHING}"
    )


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[str]:
    """The address of a repository with a package in it."""
    source, served = tmp_path / "source", tmp_path / "served"
    source.mkdir()
    served.mkdir()
    wheel_maker = (
        "import base64, os, zipfile\n"
        "def build_wheel(folder, *_):\n"
        "    name, info = 'from_git-1-py3-none-any.whl', 'from_git-1.dist-info'\n"
        "    with zipfile.ZipFile(os.path.join(folder, name), 'w') as file:\n"
        "        file.writestr('from_git.py', '')\n"
        "        file.writestr(info + '/METADATA',"
        " 'Metadata-Version: 2.1\\nName: from-git\\nVersion: 1\\n')\n"
        "        file.writestr(info + '/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n"
        "        file.writestr(info + '/RECORD', '')\n"
        "    return name\n"
    )
    (source / "backend.py").write_text(wheel_maker)
    (source / "pyproject.toml").write_text(
        '[project]\nname = "from-git"\nversion = "1"\n[build-system]\nrequires = []\n'
        'build-backend = "backend"\nbackend-path = ["."]\n'
    )
    for command in (
        ("git", "init", "--quiet"),
        ("git", "add", "."),
        ("git", "commit", "--quiet", "-m", "all"),
        ("git", "clone", "--quiet", "--bare", ".", str(served / "from-git.git")),
        ("git", "-C", str(served / "from-git.git"), "update-server-info"),
    ):
        assert run(*command, cwd=source).returncode == 0
    handler = partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/from-git.git"
        server.shutdown()


def test_an_install_from_git_is_written_with_its_commit_and_without_a_password(
    dev: Container, git_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    dev.uv("pip", "install", f"from-git @ git+http://{git_server}")
    commit = run("git", "rev-parse", "HEAD", cwd=dev.folder / "source").stdout.strip()
    assert dev.update("-y") == 0
    assert f'"from-git @ git+http://{git_server}@{commit}",\n' in dev.read("pyproject.toml")
    capfd.readouterr()
    dev.update()
    assert capfd.readouterr().err == NOTHING


def test_no_password_of_an_address_reaches_a_file(
    dev: Container, git_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"git+http://jane:hunter2@{git_server}"
    dev.uv("pip", "install", f"from-git @ {address}")
    # Whatever this uv remembers of it: an older one, or pip, may have kept it all.
    file = next(dev.places.venv.glob("lib/python3*/site-packages/from_git-*/direct_url.json"))
    known = json.loads(file.read_text())
    known["url"] = address.partition("+")[2]
    file.write_text(json.dumps(known))
    assert dev.update("-y") == 0
    shown, said = capfd.readouterr()
    assert "hunter2" not in shown + said + dev.read("pyproject.toml") + dev.read("uv.lock")
    assert f"git+http://{git_server}@" in dev.read("pyproject.toml")
    assert "from-git is written without the password in its address" in said


def test_another_torch_is_left_to_the_answers_and_a_compiled_one_is_the_images_own(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    freeze = "leaf==1.0\nlisted==1.0\nonly-dev==1.0\ntorch==9.0\ntorchvision @ file:///mnt/wheels/v"
    dev.program(
        "uv",
        f'#!/bin/sh\ncase "$*" in "pip freeze"*) echo "{freeze}" ;;\n'
        '"pip tree"*) printf "%s\\n" "listed v1.0" "torch v9.0" "torchvision v1" ;;\n'
        f'*) exec {UV} "$@" ;; esac\n',
    )
    dev.patch.setenv("CHOSEN_TORCH", "2.13.0")
    assert dev.update("-y") == 0
    assert capfd.readouterr().err == (
        "torch 9.0 is left out: an answer decides it "
        "(./template.sh update --data torch_version=9.0).\n" + NOTHING
    )


def test_what_cannot_be_added_changes_nothing_and_says_what_to_do(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    dev.offer("vanished")
    dev.uv("pip", "install", "vanished")
    (dev.pypi / "vanished/index.html").unlink()
    dev.uv("cache", "clean")
    before = dev.read("pyproject.toml"), dev.read("uv.lock")
    with pytest.raises(Stop, match=r"uv cannot add 'vanished==1.0'; nothing is written"):
        dev.update("-y")
    assert "vanished was not found" in capfd.readouterr().err
    assert (dev.read("pyproject.toml"), dev.read("uv.lock")) == before


def test_without_a_lock_there_is_nothing_to_compare_with(dev: Container) -> None:
    (dev.dependencies / "uv.lock").unlink()
    dev.patch.setenv("TEMPLATE_SH", "docker-amd64/template.sh")
    with pytest.raises(Stop, match=r"no uv\.lock .* Run outside: docker-amd64/template\.sh lock$"):
        dev.update("-y")


# --- packages of the distribution ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("git\n", "git\nstrace\ntree\n"),
        ("git  # no newline at the end", "git  # no newline at the end\nstrace\ntree\n"),
        ("# mine\r\ngit\r\n", "# mine\r\ngit\r\nstrace\r\ntree\r\n"),
        ("git\ntree # listed already", "git\ntree # listed already\nstrace\n"),
        ("git\n#tree\n", "git\n#tree\nstrace\ntree\n"),
        ("", "strace\ntree\n"),
    ],
)
def test_a_list_of_apt_packages_loses_nothing(dev: Container, before: str, after: str) -> None:
    dev.write("apt-dev.txt", before)
    dev.write("apt-build.txt", "gcc\n")
    dev.apt("git\n", "tree\ngit\ngcc\nstrace\n")
    assert dev.update("-y") == 0
    assert dev.read("apt-dev.txt") == after


def test_an_image_without_the_list_of_its_packages_says_so(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    (dev.places.container / "apt-manual.txt").unlink()
    assert dev.update("-y") == 0
    assert "not compared" in capfd.readouterr().err
    dev.apt("", "")
    dev.program("apt-mark", "#!/bin/sh\nexit 100\n")
    assert dev.update("-y") == 0
    assert "apt-mark failed" in capfd.readouterr().err


# --- the conda way -------------------------------------------------------------------------------


def added(container: Container, *arguments: str) -> list[str]:
    """The lines that the program adds to environment.yml."""
    before = container.read("environment.yml")
    assert container.update(*(arguments or ("-y",))) == 0
    return [line[4:] for line in container.read("environment.yml")[len(before) :].splitlines()]


def test_conda_nothing_to_say_where_all_is_as_it_is_locked(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    assert added(conda) == []
    assert capfd.readouterr() == ("", NOTHING)


def test_conda_what_was_asked_for_is_written_and_not_what_it_brought_along(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    conda.conda("scipy", "1.14.1", asked="scipy >=1", depends=["libbrought >=2,<3", "libasked"])
    conda.conda("libbrought", "2.5")
    conda.conda("libasked", "1.0", asked="libasked")
    assert conda.update() == 0
    assert "+  - scipy=1.14.1\n" in capfd.readouterr().out
    assert added(conda) == ["libasked=1.0", "scipy=1.14.1"]
    assert capfd.readouterr().err.endswith("Written. Run outside: ./template.sh build\n")


def test_conda_the_history_tells_too_what_was_asked_for(conda: Container) -> None:
    for name in ("typed", "updated", "dropped", "of-the-lock"):
        conda.conda(name)
    conda.conda("user", depends=["typed", "updated", "dropped", "of-the-lock"])
    step = "==> 2026-11-24 10:00:00 <==\n# cmd: micromamba\n# conda version: 3.8.0\n"
    (conda.places.venv / "conda-meta/history").write_text(
        f'{step}# update specs: ["of-the-lock==1.0=0", "of-the-lock[version=\\"==1\\",build=0]"]\n'
        f'{step}+conda-forge/noarch::typed-1.0-0\n# update specs: ["typed[version=\\">=1\\"]"]\n'
        f"{step}# update specs: ['conda-forge::dropped>=1', 'updated']\n"
        f'{step}# remove specs: ["dropped"]\n'
        f'{step}# update specs: ["updated"]\n# remove specs: ["updated"]\n'
        f"{step}# update specs: [broken\n# neutered specs: [broken]\n"
    )
    assert added(conda) == ["typed=1.0", "updated=1.0", "user=1.0"]


def test_conda_a_changed_version_is_wanted_and_a_removed_package_is_named(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    conda.conda("libfoo", "1.1")
    next(conda.places.venv.glob("conda-meta/with-dash-*")).unlink()
    assert added(conda) == ["libfoo=1.1"]
    assert "Not installed any more: with-dash. To remove one for good" in capfd.readouterr().err


def test_conda_what_the_template_owns_is_left_to_the_answers(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    conda.conda("python", "3.12.9", asked="python")
    assert added(conda) == []
    assert "python 3.12.9 is left out: an answer decides it" in capfd.readouterr().err


def test_conda_another_channel_is_named(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    public, own = "https://conda.anaconda.org/bioconda", "https://conda.example/t/SECRET/lab"
    mirror = "file:///mnt/channels/conda-forge/noarch"
    conda.conda("samtools", channel=f"{public}/linux-64", url=f"{public}/linux-64/s.conda")
    conda.conda("of-lab", channel=f"{own}/noarch", url=f"{own}/noarch/of-lab-1.0-0.conda")
    conda.conda("of-mirror", channel=mirror, url=f"{mirror}/of-mirror-1.0-0.conda")
    other = "file:///mnt/channels/lab/noarch"
    conda.conda("of-other", channel=other, url=f"{other}/of-other-1.0-0.conda")
    conda.conda("of-folder", channel="file:///workspace/noarch", url="file:///workspace/x.conda")
    conda.patch.setenv("MAMBA_CHANNEL_ALIAS", "file:///mnt/channels")
    assert added(conda) == [
        "of-lab=1.0",
        "of-mirror=1.0",
        "lab::of-other=1.0",
        "bioconda::samtools=1.0",
    ]
    shown, said = capfd.readouterr()
    assert "of-lab=1.0 comes from the channel lab: environment.yml needs its address" in said
    assert "of-folder=1.0 is left out: it comes from a folder of this container" in said
    assert "SECRET" not in shown + said


def test_conda_what_pip_installed_goes_to_the_pip_part(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    conda.write(
        "pip.lock",
        "# input: sha256:0\nlocked==1.0 \\\n    --hash=sha256:0\nlock-git @ u#sha256=0\n",
    )
    conda.conda("numpy", files=[conda.pip("numpy", "1.0", "conda")])
    conda.conda("old", files=["lib/python3.12/site-packages/old-1.0.dist-info/METADATA"])
    conda.write(
        "conda.lock",
        conda.read("conda.lock") + "https://h/c/noarch/numpy-1.0-0.conda\n"
        "https://h/c/noarch/old-1.0-0.conda\n",
    )
    git = {"vcs": "git", "commit_id": "0" * 40}
    conda.pip("locked")
    conda.pip("old", "2.0")
    conda.pip("Humanize.Me", "4.0", requires=["brought", "extra-only; extra == 'x'"])
    conda.pip("brought")
    conda.pip("extra_only", installer="uv")
    conda.pip("of-git", direct={"url": "https://git.example/a", "vcs_info": git})
    conda.pip("of-url", direct={"url": "https://jane:pw@x.example/a.whl", "archive_info": {}})
    conda.pip("mine", direct={"url": "file:///workspace", "dir_info": {"editable": True}})
    conda.pip("copied", direct={"url": "file:///workspace", "dir_info": {}})
    assert added(conda) == [
        "PIP humanize-me==4.0",
        "PIP extra-only==1.0",
        f"PIP of-git @ git+https://git.example/a@{'0' * 40}",
        "PIP of-url @ https://x.example/a.whl",
    ]
    said = capfd.readouterr().err
    assert "copied is left out: it comes from a folder of this container" in said
    assert "old is left out: pip put 2.0 in the place of conda's 1.0." in said
    assert "Not installed any more: lock-git." in said
    assert "of-url is written without the password" in said


@pytest.mark.parametrize(
    ("missing", "name"), [("conda.lock", "conda"), ("pip.lock", "pip"), ("pip-dev.lock", "pip-dev")]
)
def test_conda_without_a_lock_there_is_nothing_to_compare_with(
    conda: Container, missing: str, name: str
) -> None:
    for file in ("environment.yml", "environment-dev.yml"):
        conda.write(file, conda.read(file) + "  - pip:\n      - x\n")
    for file in ("pip.lock", "pip-dev.lock"):
        conda.write(file, "")
    (conda.dependencies / missing).unlink()
    with pytest.raises(Stop, match=rf"There is no {name}\.lock .* lock$"):
        conda.update("-y")


def test_conda_what_is_refused_is_left_out_with_its_reason(
    conda: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    conda.conda("impossible", "1", asked="impossible")
    conda.conda("possible", "1", asked="possible")
    assert added(conda) == ["possible=1"]
    said = capfd.readouterr().err
    assert "impossible is left out. The version of impossible is an answer.\n" in said


def test_conda_what_is_locked_for_dev_only_stays_there(conda: Container) -> None:
    tail = "# dev\nhttps://conda.anaconda.org/conda-forge/noarch/pytest-8.0-py_0.conda\n"
    conda.write("conda.lock", conda.read("conda.lock") + tail)
    conda.write("pip.lock", "in-both==1.0\n")
    conda.write("pip-dev.lock", "in-both==1.0\nonly-dev==1.0\n")
    conda.conda("pytest", "9.0")
    conda.pip("in-both", "2.0")
    conda.pip("only-dev", "2.0")
    before = conda.read("environment-dev.yml")
    assert added(conda) == ["PIP in-both==2.0"]
    after = conda.read("environment-dev.yml")
    assert after == before + "  - pytest=9.0\n  - PIP only-dev==2.0\n"


# --- how it is started ---------------------------------------------------------------------------


def test_without_the_projects_folder_the_diff_is_all_there_is(
    dev: Container, capfd: pytest.CaptureFixture[str]
) -> None:
    dev.apt("git\n", "git\ntree\n")
    dev.patch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    assert dev.update("-y") == 0
    shown, said = capfd.readouterr()
    assert "+tree\n" in shown
    assert "patch -p1 <my.diff" in said
    assert dev.read("apt-dev.txt") == "git\n"


def test_a_folder_that_cannot_be_written_after_all_is_one_sentence(dev: Container) -> None:
    dev.apt("git\n", "git\ntree\n")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    dev.patch.setattr(os, "replace", refuse)
    with pytest.raises(Stop, match=r"apt-dev\.txt cannot be written: Read-only file system\.$"):
        dev.update("-y")
    assert not list(dev.dependencies.glob(".*"))


def test_files_keep_their_mode(dev: Container) -> None:
    dev.apt("git\n", "git\ntree\n")
    (dev.dependencies / "apt-dev.txt").chmod(0o664)
    dev.update("-y")
    assert (dev.dependencies / "apt-dev.txt").stat().st_mode & 0o777 == 0o664


def start(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the program as its first line does."""
    first = program.read_text().splitlines()[0]
    assert first == "#!/opt/venv/bin/python -BIS"
    return run(sys.executable, "-BIS", program, *arguments, env={**os.environ, **environment})


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_broken_package_of_the_person_does_not_matter(tmp_path: Path, program: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('broken')\n")
    result = start(program, "--help", PYTHONPATH=str(tmp_path))
    assert result.returncode == 0
    assert "update_env_file -y" in result.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_wrong_option_and_a_wrong_place_are_one_sentence(program: Path) -> None:
    wrong = start(program, "--yes")
    assert (wrong.returncode, wrong.stderr) == (2, 'update_env_file knows -y, not "--yes".\n')
    if not Places().dependencies.exists():
        outside = start(program)
        sentence = "/opt/dependencies is not there: this is not the dev container.\n"
        assert (outside.returncode, outside.stderr) == (1, sentence)


def test_it_reads_a_conda_lock_as_conda_env_writes_it() -> None:
    # It stands alone in the image, so that it knows two things of its own.
    assert conda_lock.PUBLIC == installed_conda.PUBLIC_CHANNELS
    packages = {
        part: [
            conda_lock.Locked.parse(
                f"{conda_lock.PUBLIC}/c/noarch/{part}-1-0.conda#sha256:{'a' * 64}"
            )
        ]
        for part in conda_lock.PARTS
    }
    text = conda_lock.text_of(conda_lock.Lock("", {}, packages))
    assert installed_conda.conda_locked(text) == dict.fromkeys(conda_lock.PARTS, "1")
    dev = text.partition(installed_conda.DEV_PART)[2]
    assert installed_conda.conda_locked(dev) == {"dev": "1"}
