"""What a project declares in its own metadata is locked, built and noticed."""

from __future__ import annotations

import re

import pytest

from tests.engine.conftest import MakeProject
from tests.support.index import PackageIndex
from tests.support.project import Project

LOCK = "docker-amd64/dependencies/uv.lock"
# One project of each kind, all in one build: those in libs/ are path sources of the first.
FILES = {
    "herd.py": "import of_project, of_setup_py, of_setup_cfg, of_poetry; print('all there')\n",
    "pyproject.toml": """\
[project]
name = "herd"
version = "0"
dependencies = ["of-project==1.0", "in-setup-py", "in-setup-cfg", "in-poetry"]

[project.optional-dependencies]
test = ["of-tests"]
docs = ["of-docs"]

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
py-modules = ["herd"]

[tool.uv.sources]
in-setup-py = { path = "libs/in_setup_py", editable = true }
in-setup-cfg = { path = "libs/in_setup_cfg" }
in-poetry = { path = "libs/in_poetry" }
""",
    "libs/in_setup_py/setup.py": """\
import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CUDAExtension

setup(
    name="in-setup-py",
    ext_modules=[CUDAExtension("kernels", ["kernels.cu"])],
    cmdclass={"build_ext": BuildExtension},
    install_requires=open("requirements.txt").read().split(),
)
""",
    "libs/in_setup_py/requirements.txt": "of-setup-py>=1\n",
    "libs/in_setup_cfg/setup.cfg": """\
[metadata]
name = in-setup-cfg
[options]
install_requires =
    of-setup-cfg
    of-windows; platform_system == "Windows"
""",
    "libs/in_setup_cfg/pyproject.toml": """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
""",
    "libs/in_poetry/pyproject.toml": """\
[tool.poetry]
name = "in-poetry"
version = "0"
description = ""
authors = []
[tool.poetry.dependencies]
python = "^3.10"
of-poetry = "^1.0"
""",
}


@pytest.fixture(scope="module")
def herd(project: MakeProject, index: PackageIndex) -> Project:
    """A project of every kind of metadata, its runtime image built."""
    for name in ("project", "setup-py", "setup-cfg", "poetry", "tests", "windows", "second"):
        index.add(f"of-{name}")
    new = project("herd", existing=FILES, light=True)
    new.write("uv.lock", '[[package]]\nname = "of-second"\nversion = "1.0"\nsource = {}\n')
    said = new.build("runtime")
    assert "Groups and extras of pyproject.toml that are not installed: docs." in said
    assert "The lock of the images is dependencies/uv.lock, not uv.lock" in said
    return new


def test_what_each_kind_of_metadata_requires_is_locked_and_installed(herd: Project) -> None:
    assert herd.ok("run", "python", "herd.py") == "all there\n"
    lock = (herd.folder / LOCK).read_text()
    assert 'source = { virtual = "project" }' in lock
    assert {name for name in ("of-tests", "of-docs") if f'name = "{name}"' in lock} == {"of-tests"}
    assert (herd.folder / "docker-amd64/dependencies/project/files.json").stat().st_uid == (
        herd.owner.uid
    )
    assert {name: (herd.folder / name).read_text() for name in FILES} == FILES
    herd.ok("lock", "--check")
    assert "Bringing" not in herd.build("runtime")


def test_an_edit_is_noticed_and_add_writes_where_the_project_has_its_packages(
    herd: Project, index: PackageIndex
) -> None:
    file = herd.folder / "pyproject.toml"
    herd.write("pyproject.toml", file.read_text().replace("==1.0", ">=1.0"))
    result = herd.sh("lock", "--check")
    assert result.returncode == 1
    assert "(failure: lock-stale)" in result.stderr
    said = herd.build("runtime")
    assert "of-project>=1.0 (was of-project==1.0)" in said

    index.add("of-second", "2.1")
    herd.ok("add", "of-second")
    assert '    "of-second>=2.1",\n' in file.read_text()
    assert file.stat().st_uid == herd.owner.uid
    herd.ok("lock", "--check")
    assert "Bringing" not in herd.build("runtime")
    herd.ok("run", "python", "-c", "import of_second")

    before = file.read_text()
    index.add("for-images")
    herd.ok("add", "--image", "for-images")
    assert file.read_text() == before
    assert '"for-images' in (herd.folder / LOCK).with_name("pyproject.toml").read_text()

    herd.ok("remove", "of-second", "for-images")
    assert "of-second" not in file.read_text()
    assert not re.search("of-second|for-images", (herd.folder / LOCK).read_text())
    assert file.stat().st_uid == herd.owner.uid
    herd.ok("lock", "--check")


def test_an_index_that_the_project_names_is_asked_as_the_project_says(
    herd: Project, index: PackageIndex, own_index: PackageIndex
) -> None:
    own_index.add("hearth-team")  # no other index has it
    own_index.add("of-tests", "9.0")
    index.add("hearth-tool", requires=["hearth-team"])
    file = herd.folder / "pyproject.toml"
    text = file.read_text()
    url = own_index.env()["UV_DEFAULT_INDEX"]
    more = text.replace('"of-project', '"hearth-tool", "of-project', 1)
    herd.write("pyproject.toml", f'{more}\n[[tool.uv.index]]\nurl = "{url}"\n')
    said = herd.build("runtime")
    assert f"All packages are looked for in {url} too" in said
    herd.ok("run", "python", "-c", "import hearth_tool, hearth_team")
    herd.ok("lock", "--check")
    assert "Bringing" not in herd.build("runtime")

    secret = url.replace("://", "://jane:hunter2@")
    herd.write("pyproject.toml", f'{text}\n[[tool.uv.index]]\nurl = "{secret}"\n')
    refused = herd.sh("build", "runtime")
    assert "(failure: password-in-file)" in refused.stderr
    assert "hunter2" not in refused.stderr
    herd.write("pyproject.toml", text)
