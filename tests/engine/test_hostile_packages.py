"""Packages with hostile code: what they do in one project's build reaches no other project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject
from tests.support.conda_channel import CondaChannels, CondaPackage, python_module
from tests.support.index import PackageIndex
from tests.support.process import run
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
CHECK_CONDA = """
import hashlib, json, pathlib
venv, names = pathlib.Path("/opt/venv"), set()
for record in (venv / "conda-meta").glob("*.json"):
    for file in json.loads(record.read_text())["paths_data"]["paths"]:
        if file.get("sha256") and not file.get("prefix_placeholder"):
            found = hashlib.sha256((venv / file["_path"]).read_bytes()).hexdigest()
            assert found == file["sha256"], file
            names.add(pathlib.Path(file["_path"]).name)
assert "everybodys.py" in names
import everybodys
assert not hasattr(everybodys, "HOSTILE")
print("as in conda-meta")
"""
LINK_SCRIPT = """\
#!/bin/sh
mkdir -p "$PREFIX/etc" && touch "$PREFIX/etc/ran"
find /var/cache -name '*.py' -writable -exec sh -c 'echo "HOSTILE = True" >>"$1"' sh {} \\;
"""
# A program with a name that every script calls, and that runs as root beside the caches of apt.
BY_NAME = """\
#!/bin/sh
if grep -q " /var/cache/apt " /proc/self/mounts; then touch /etc/beside-apt; fi
exec /bin/bash "$@"
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
    # Large enough for a layer that dev has before its packages of apt.
    scripts = {"by_name-1.0.data/scripts/bash": BY_NAME, "by_name.py": "#" * 2_100_000}
    own_index.add("by-name", files=scripts)
    hostile = project("hostile", light=True, packages=own_index)
    hostile.ok("add", "of-everybody", "by-startup", "by-name")
    hostile.build("runtime")
    # Now its code is in the stages below, and that of the second runs while it is built.
    own_index.add("of-everybody-too")
    hostile.ok("add", "of-everybody-too")
    hostile.ok("add", "--dev", "by-setup-py")
    log = hostile.build()
    assert "A package has no wheel for this image" in log
    looks = ("docker", "run", "--rm", "--entrypoint=/bin/ls", hostile.image("dev"), "/etc")
    files = run(*looks).stdout.split()
    assert "passwd" in files
    assert "beside-apt" not in files
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
    new = project("victim", light=True, packages=own_index)
    for number, name in enumerate(("bin/python._pth", "pyvenv.cfg")):
        package = f"by-data-{number}"
        data = {f"by_data_{number}-1.0.data/data/{name}": "home = /tmp\n"}
        own_index.add(package, files={f"by_data_{number}.py": "", **data})
        new.ok("add", package)
        result = new.sh("build", "runtime")
        assert result.returncode == 1
        assert f"by_data_{number}-1.0 replaces {name}" in result.stderr
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
    # micromamba runs it when the package is linked.
    script = {"bin/.ascript-post-link.sh": LINK_SCRIPT}
    conda_channels.publish(CondaPackage("ascript", "1.0", files=script))
    hostile = project("hostile-conda", light=True, package_manager="conda", env=env)
    hostile.ok("add", "astartup", "ascript")
    hostile.build("runtime")
    hostile.ok("run", "test", "-e", "/opt/venv/etc/ran")
    hostile.ok("add", "everybodys")
    hostile.build("runtime")
    other = project("other-conda", light=True, package_manager="conda", env=env, owner=victim)
    other.ok("add", "everybodys")
    with conda_channels.recording() as traffic:
        other.build("runtime")
    assert not [name for name in traffic.downloads if name.startswith("everybodys")]
    assert other.ok("run", "python", "-c", CHECK_CONDA) == "as in conda-meta\n"
