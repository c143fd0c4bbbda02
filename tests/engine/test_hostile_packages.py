"""Packages with hostile code: what they do in one project's build reaches no other project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject
from tests.support.conda_channel import CondaChannels, CondaPackage, python_module
from tests.support.index import PackageIndex
from tests.support.project import Person

# Into every file that a build shares with others, in a line that Python runs.
CHANGE = (
    "import pathlib; [path.open('a').write('\\nHOSTILE = True\\n') "
    "for path in pathlib.Path('/var/cache').rglob('*.py') if {condition}]"
)
SETUP = f"""\
{CHANGE.format(condition="True")}
from setuptools import setup
setup(name="by-setup-py", version="1.0", py_modules=[])
"""
STARTUP = CHANGE.format(condition="__import__('os').access(path, 2)")
CHECK = """
import base64, hashlib, importlib.metadata, pathlib
for package in importlib.metadata.distributions():
    for file in package.files or ():
        if file.hash and file.suffix != ".pyc":
            data = pathlib.Path(file.locate()).read_bytes()
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert found == file.hash.value, file
import {module}
assert not hasattr({module}, "HOSTILE")
print("as in RECORD")
"""


@pytest.fixture(scope="module")
def victim(jane: Person, open_folder: Path) -> Person:
    """Another user of the same engine."""
    if os.getuid():
        return jane
    home = open_folder / "home of a victim"
    home.mkdir()
    os.chown(home, jane.uid + 1, jane.gid)
    return Person(jane.uid + 1, jane.gid, "victim", home)


def test_no_code_of_a_package_changes_what_another_project_installs(
    project: MakeProject, own_index: PackageIndex, victim: Person
) -> None:
    own_index.add("of-everybody")
    own_index.add("by-startup", files={"by_startup.py": "", "by_startup.pth": f"{STARTUP}\n"})
    own_index.add_source("by-setup-py", SETUP)
    hostile = project("hostile", light=True, packages=own_index)
    hostile.ok("add", "of-everybody", "by-startup")
    hostile.build("runtime")
    # Now its code is in the stages below, and that of the second runs while it is built.
    own_index.add("of-everybody-too")
    hostile.ok("add", "of-everybody-too")
    hostile.ok("add", "--dev", "by-setup-py")
    log = hostile.build()
    assert "A package has no wheel for this image" in log
    hostile.ok("run", "python", "-c", CHECK.format(module="of_everybody"))

    other = project("other", light=True, packages=own_index, owner=victim)
    other.ok("add", "of-everybody", "of-everybody-too")
    with own_index.recording() as traffic:
        other.build("runtime")
    # The cache of wheels serves both.
    assert not [name for name in traffic.downloads if name.startswith("of_everybody")]
    for module in ("of_everybody", "of_everybody_too"):
        assert other.ok("run", "python", "-c", CHECK.format(module=module)) == "as in RECORD\n"


def test_a_wheel_that_replaces_the_environments_python_is_refused(
    project: MakeProject, own_index: PackageIndex
) -> None:
    config = {"by_data-1.0.data/data/pyvenv.cfg": "home = /tmp\n"}
    own_index.add("by-data", files={"by_data.py": "", **config})
    new = project("victim", light=True, packages=own_index)
    new.ok("add", "by-data")
    result = new.sh("build", "runtime")
    assert result.returncode == 1
    assert "(failure: environment-replaced)" in result.stderr


def test_no_code_of_a_conda_package_reaches_the_cache_of_downloads(
    project: MakeProject, conda_channels: CondaChannels, victim: Person
) -> None:
    env = {"MAMBA_CHANNEL_ALIAS": conda_channels.url}
    conda_channels.publish(python_module("everybodys", "1.0"))
    # Runs when the noarch packages that are linked after it are compiled.
    startup = CondaPackage(
        "astartup", "1.0", files={"site-packages/astartup.pth": f"{STARTUP}\n"}, noarch="python"
    )
    conda_channels.publish(startup)
    hostile = project("hostile-conda", light=True, package_manager="conda", env=env)
    hostile.ok("add", "astartup")
    hostile.build("runtime")
    hostile.ok("add", "everybodys")
    hostile.build("runtime")
    other = project("other-conda", light=True, package_manager="conda", env=env, owner=victim)
    other.ok("add", "everybodys")
    with conda_channels.recording() as traffic:
        other.build("runtime")
    assert not [name for name in traffic.downloads if name.startswith("everybodys")]
    check = "import everybodys; print(hasattr(everybodys, 'HOSTILE'))"
    assert other.ok("run", "python", "-c", check) == "False\n"
