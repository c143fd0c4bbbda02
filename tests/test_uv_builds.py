"""What is compiled against PyTorch is built with that of the images: image/uv_builds.py."""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import project_lock
from tests.support.locks import DEPENDENCIES
from tests.support.wheels import make_wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# An extension whose metadata tells which PyTorch it was built with: it has a build backend of its
# own, which needs no index.
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
import pathlib, torch

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "torch_scatter-1.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\\nName: torch-scatter\\nVersion: 1\\n"
        f"Requires-Dist: built-with=={torch.__version__}\\n"
    )
    return info.name
"""
PROJECT = '[project]\nname = "x"\nversion = "0"\ndependencies = {}\n'

Run = Callable[..., int]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The folder of the code, with docker-amd64/dependencies in it."""
    file = tmp_path / "code/docker-amd64/dependencies/pyproject.toml"
    file.parent.mkdir(parents=True)
    file.write_text(DEPENDENCIES)
    return tmp_path / "code"


@pytest.fixture
def run(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The program, with an extension and two versions of PyTorch as all that uv finds."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    wheels, source = tmp_path / "wheels", tmp_path / "torch_scatter-1"
    wheels.mkdir()
    source.mkdir()
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "torch", version)
        make_wheel(wheels, "built-with", version)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "backend.py").write_text(BACKEND)
    about = "Metadata-Version: 2.1\nName: torch-scatter\nVersion: 1\n"
    (source / "PKG-INFO").write_text(about)
    with tarfile.open(wheels / "torch_scatter-1.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))

    def call(*words: str, torch: str = "1.0") -> int:
        options = [f"--versions={json.dumps({'torch': torch})}", f"--code={code}"]
        folder = code / "docker-amd64/dependencies"
        return project_lock.main([*options, f"--dependencies={folder}", *words])

    return call


def uv_of(code: Path) -> Any:
    return tomllib.loads((code / "docker-amd64/dependencies/pyproject.toml").read_text())["tool"][
        "uv"
    ]


def built_with(code: Path) -> str:
    """The PyTorch that the locked extension was built with."""
    lock = tomllib.loads((code / "docker-amd64/dependencies/uv.lock").read_text())
    versions: dict[str, str] = {one["name"]: one["version"] for one in lock["package"]}
    return versions["built-with"]


def test_an_extension_of_the_project_is_built_with_the_pytorch_of_the_images(
    code: Path, run: Run
) -> None:
    (code / "pyproject.toml").write_text(PROJECT.format('["torch_scatter"]'))
    assert run("lock") == 0
    assert built_with(code) == "1.0"
    assert uv_of(code)["extra-build-dependencies"] == {"torch-scatter": ["torch==1.0"]}
    assert run("lock", "--", "--upgrade", torch="2.0") == 0
    assert uv_of(code)["extra-build-dependencies"] == {"torch-scatter": ["torch==2.0"]}
    (code / "pyproject.toml").write_text(PROJECT.format("[]"))
    assert run("lock") == 0
    assert "extra-build-dependencies" not in uv_of(code)


def test_an_extension_that_is_added_for_the_images_is_built_with_their_pytorch(
    code: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    own = (code / "pyproject.toml").read_text() if (code / "pyproject.toml").exists() else None
    assert run("add", "--image", "--", "torch-scatter", "built-with") == 0
    assert json.loads(capfd.readouterr().out) == {"written": None}
    assert uv_of(code)["extra-build-dependencies"] == {"torch-scatter": ["torch==1.0"]}
    folder = code / "docker-amd64/dependencies"
    listed = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [re.sub(r"\W*[\d.]*$", "", one) for one in listed] == ["built-with", "torch-scatter"]
    assert built_with(code) == "1.0"
    now = (code / "pyproject.toml").read_text() if (code / "pyproject.toml").exists() else None
    assert now == own
    with pytest.raises(SystemExit):
        run("add", "--image", "--", "no-such-package")


OWN = """\
[tool.uv]
find-links = ["https://wheels.example/list.html", "./wheels"]
no-build-isolation-package = ["ext_b"]
[tool.uv.extra-build-dependencies]
ext-a = ["numpy", "torch>=1"]
[[tool.uv.dependency-metadata]]
name = "ext-c"
version = "1"
requires-dist = ["numpy"]
"""
OF_PDM = """\
[[tool.pdm.source]]
name = "w"
type = "find_links"
url = "https://wheels.example/list.html"
"""


def test_what_the_project_tells_uv_of_builds_counts_until_the_project_drops_it(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_lock, "uv", lambda *_: None)
    file = code / "docker-amd64/dependencies/pyproject.toml"
    before = tomllib.loads(file.read_text())
    (code / "pyproject.toml").write_text(PROJECT.format("[]") + OWN)
    assert run("lock") == 0
    said = capsys.readouterr().err
    assert "find-links ./wheels: left out" in said
    assert "ext_b: built with torch, in place of no-build-isolation-package." in said
    uv = uv_of(code)
    assert uv["find-links"] == ["https://wheels.example/list.html"]
    assert uv["extra-build-dependencies"] == {
        "ext-a": ["numpy", "torch==1.0"],
        "ext-b": ["torch==1.0"],
    }
    stated = {"name": "ext-c", "version": "1", "requires-dist": ["numpy"]}
    assert uv["dependency-metadata"] == [stated]
    text = file.read_text()
    assert run("lock") == 0
    assert file.read_text() == text
    (code / "pyproject.toml").write_text(PROJECT.format("[]") + OF_PDM)
    assert run("lock", torch="2.0") == 0
    uv = uv_of(code)
    assert uv.pop("find-links") == ["https://wheels.example/list.html"]
    assert uv == before["tool"]["uv"]
