"""What makes the mounted code importable when a container starts, without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from host.git import git_version
from tests.conftest import ROOT
from tests.support.entrypoint import entrypoint

DOCKER = ROOT / "template/docker-amd64"
# A build backend of its own folder, so that a test needs no index. It writes the version that it is
# handed, as setuptools_scm or uv-dynamic-versioning does.
BACKEND = """
import os, pathlib, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    is_uv = "uv-dynamic-versioning" in pathlib.Path("pyproject.toml").read_text()
    name = "UV_DYNAMIC_VERSIONING_BYPASS" if is_uv else "SETUPTOOLS_SCM_PRETEND_VERSION"
    version = os.environ.get(name)
    if pathlib.Path("broken").exists():
        raise LookupError("unable to detect the version\\nof this folder")
    info = f"thing-{version or 1}.dist-info"
    name = f"thing-{version or 1}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("thing.pth", str(pathlib.Path("src").resolve()))
        head = "Metadata-Version: 2.1\\nName: thing\\nVersion: "
        wheel.writestr(f"{info}/METADATA", f"{head}{version or 1}\\n")
        about = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any", ""]
        wheel.writestr(f"{info}/WHEEL", "\\n".join(about))
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PYPROJECT = """
[project]
name = "thing"
version = "1"
[build-system]
requires = [REQUIRES]
build-backend = "backend"
backend-path = ["."]
"""


class Container:
    """A folder of code, a home, and the entrypoint with paths of this machine."""

    def __init__(self, folder: Path) -> None:
        self.code, self.home = folder / "workspace", folder / "home"
        for path in (self.code, self.home, folder / "bin", folder / "venv/bin"):
            path.mkdir(parents=True)
        (folder / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / "bin/python").chmod(0o755)
        (folder / "venv/bin/python").symlink_to(sys.executable)
        text = entrypoint()
        for old, new in (
            ("/opt/container/install_project.py", str(DOCKER / "image/install_project.py")),
            ("/opt/venv/bin", str(folder / "venv/bin")),
            ("/workspace", str(self.code)),
            ("/tmp/.container-ready", str(folder / "ready")),
        ):
            text = text.replace(old, new)
        text = re.sub(r"(?m)^eval .*$", "", text)
        self.script = folder / "entrypoint.sh"
        self.script.write_text(text)
        self.path = f"{folder}/bin:/usr/bin:/bin"

    def write(self, files: dict[str, str]) -> None:
        """Write files of the code."""
        for name, text in files.items():
            (self.code / name).parent.mkdir(parents=True, exist_ok=True)
            (self.code / name).write_text(text)

    def start(self, command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Start it with a line of Python, which sees the prefix as the images do."""
        pth = (
            "import os, site, sys; version = 'python%d.%d' % sys.version_info[:2]\n"
            "site.addsitedir(os.path.expanduser(f'~/.project/lib/{version}/site-packages'))"
        )
        return self.run("python", "-c", f"{pth}\n{command}", **env)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Start it with a command."""
        words = ["bash", str(self.script), *command]
        known = {"PATH": self.path, "HOME": str(self.home), "PIP_NO_INDEX": "1"}
        known |= {"VIRTUAL_ENV": "/opt/venv", **env}
        return subprocess.run(
            words, cwd=self.home, env=known, capture_output=True, text=True, check=False
        )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_scripts_without_metadata_are_importable_and_one_line_says_so(container: Container) -> None:
    container.write(
        {"train.py": "", "tools/x.py": "", "src/pkg/__init__.py": "", "logging.py": "1/0"}
    )
    for _ in range(2):
        done = container.start("import train, tools.x, pkg, logging; print(logging.INFO)")
        assert (done.returncode, done.stdout) == (0, "20\n"), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "not a Python project" in done.stderr


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("true", 0, ""),
        ("nosuch", 127, "./template.sh build"),
        ("./nosuch", 127, "./template.sh build"),
        ("-x", 127, "./template.sh build"),
        ("./note.txt", 126, "ls -ld ./note.txt"),
        ("/etc", 126, "ls -ld /etc"),
    ],
)
def test_a_command_that_the_image_cannot_execute_is_explained(
    container: Container, program: str, status: int, said: str
) -> None:
    (container.home / "note.txt").touch()
    done = container.run(program)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.rstrip().endswith(said)
    assert len(done.stderr.splitlines()) == (2 if said else 1), done.stderr


def test_a_project_that_is_no_package_is_importable(container: Container) -> None:
    container.write(
        {"pyproject.toml": '[project]\nname = "x"\n[tool.uv]\npackage = false\n', "a.py": ""}
    )
    done = container.start("import a")
    assert done.returncode == 0
    assert "not installed" in done.stderr


@pytest.mark.parametrize("package", ["false", "true"])
def test_the_folders_that_the_metadata_names_as_sources_are_importable(
    container: Container, package: str
) -> None:
    text = PYPROJECT.replace("REQUIRES", "") + (
        '[tool.uv.workspace]\nmembers = ["packages/*"]\n'
        '[tool.uv.sources]\none = { workspace = true }\ntwo = { path = "libs/two" }\n'
        f"[tool.uv]\npackage = {package}\n"
    )
    container.write({"pyproject.toml": text, "backend.py": BACKEND, "src/thing.py": ""})
    container.write({"packages/one/src/one/__init__.py": "", "libs/two/two.py": ""})
    done = container.start("import thing, one, two")
    assert done.returncode == 0, done.stderr


def test_a_project_is_installed_once_with_the_build_requirements_that_are_here(
    container: Container,
) -> None:
    requires = '"pip>=20", "wheel", "not-for-linux; sys_platform == \'win32\'"'
    container.write({"pyproject.toml": PYPROJECT.replace("REQUIRES", requires)})
    container.write({"backend.py": BACKEND, "src/thing.py": ""})
    command = "import thing, importlib.metadata as m; print(m.version('thing'))"
    done = container.start(command)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert done.stderr == "[entrypoint] installing the project in editable mode\n"
    assert container.start(command).stderr == ""
    assert sorted(path.name for path in container.code.iterdir()) == [
        "__pycache__",
        "backend.py",
        "pyproject.toml",
        "src",
    ]


def test_requirements_that_cannot_be_had_are_named_only_if_it_fails_without_them(
    container: Container,
) -> None:
    container.write({"pyproject.toml": PYPROJECT.replace("REQUIRES", '"absent-backend>=1.2"')})
    container.write({"backend.py": BACKEND, "src/thing.py": ""})
    assert container.start("import thing").stderr.count("\n") == 1
    container.write(
        {"pyproject.toml": PYPROJECT.replace("REQUIRES", '"absent-backend>=1.3"'), "broken": ""}
    )
    done = container.start("import thing")
    assert done.returncode == 0
    assert "add --image 'absent-backend>=1.3'" in done.stderr
    assert "absent-backend" in done.stderr.splitlines()[1]


def test_the_cause_of_a_failure_is_said_and_the_code_is_importable(container: Container) -> None:
    container.write({"pyproject.toml": PYPROJECT.replace("REQUIRES", ""), "backend.py": BACKEND})
    container.write({"broken": "", "src/thing.py": ""})
    done = container.start("import thing")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[1:3] == ["    LookupError: unable to detect the version", "    of this folder"]
    assert len(lines) == 4
    (container.code / "broken").unlink()
    assert "installing" in container.start("import thing").stderr  # tried again


def test_where_the_home_takes_no_file_the_command_starts(container: Container) -> None:
    container.write({"pyproject.toml": PYPROJECT.replace("REQUIRES", ""), "backend.py": BACKEND})
    (container.home / ".project/install.log").mkdir(parents=True)
    done = container.start("print(1)")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("table", ["setuptools_scm", "uv-dynamic-versioning"])
def test_a_version_of_git_is_handed_in_where_no_repository_is_seen(
    container: Container, table: str
) -> None:
    text = PYPROJECT.replace("REQUIRES", "") + f"[tool.{table}]\n"
    container.write({"pyproject.toml": text, "backend.py": BACKEND, "src/thing.py": ""})
    command = "import importlib.metadata as m; print(m.version('thing'))"
    assert container.start(command, PROJECT_VERSION="1.4.dev2+g12").stdout == "1.4.dev2+g12\n"
    container.write({"pyproject.toml": f"{text}#\n"})
    done = container.start(command)
    assert done.stdout == "0.0.0\n"
    assert "PROJECT_VERSION" in done.stderr
    container.write({"pyproject.toml": f"{text}##\n"})
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@y")
    subprocess.run([*git, "init", "--quiet"], cwd=container.code, check=True)
    subprocess.run(
        [*git, "commit", "--quiet", "--allow-empty", "-mx"], cwd=container.code, check=True
    )
    assert container.start(command).stdout == "1\n"  # the backend asks git


@pytest.mark.parametrize(
    ("tags", "commits", "version"),
    [
        ([], 2, r"0\.1\.dev3"),
        (["v1.4.0"], 0, r"1\.4\.0"),
        (["v1.4.0"], 2, r"1\.4\.1\.dev2\+g[0-9a-f]+"),
        (["release-2.0rc1"], 1, r"2\.0rc1\.dev1\+g[0-9a-f]+"),
    ],
)
def test_run_hands_in_the_version_that_git_has(
    tmp_path: Path, tags: list[str], commits: int, version: str
) -> None:
    code = tmp_path / "repository/code"
    code.mkdir(parents=True)

    def git(*words: str) -> None:
        person = ("-c", "user.name=x", "-c", "user.email=x@y")
        subprocess.run(["git", *person, *words], cwd=code.parent, check=True)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-mx")
    for tag in tags:
        git("tag", tag)
    for _ in range(commits):
        git("commit", "--quiet", "--allow-empty", "-mx")
    assert git_version(code) == ""
    (code / "pyproject.toml").write_text('[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n')
    assert re.fullmatch(version, git_version(code))


def test_a_project_below_that_the_project_requires_is_importable(container: Container) -> None:
    backend = BACKEND.replace("\\nVersion: ", "\\nRequires-Dist: se3-transformer\\nVersion: ")
    container.write(
        {
            "pyproject.toml": PYPROJECT.replace("REQUIRES", ""),
            "backend.py": backend,
            "src/thing.py": "",
            "env/SE3/setup.py": "import setuptools\nsetuptools.setup(name='se3_transformer')\n",
            "env/SE3/se3/__init__.py": "",
            "env/other/pyproject.toml": '[project]\nname = "other"\n',
            "env/other/other.py": "",
        }
    )
    find = "import thing, se3, importlib.util; print(importlib.util.find_spec('other'))"
    done = container.start(find)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
