"""What Python packages need from Debian and Ubuntu is named, added and explained in one command."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from host import system_packages
from host.failures import explain
from host.project import Project, StopError, me
from host.system_packages import APT_NAME, TABLE, read_table
from missing_library import explanation
from tests.support.program import PROJECT

Add = Callable[..., bool]
NO_LIBRARY = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "docker-amd64"
    (folder / "dependencies").mkdir(parents=True)
    (folder / ".env").write_text("")
    (folder / "dependencies/apt-runtime.txt").write_text("# Yours:\nlibgl1 # for cv2\ntzdata")
    return Project(folder, PROJECT)


@pytest.fixture
def add(project: Project) -> Add:
    def call(*names: str, dev: bool = False, build: bool = False, image: bool = False) -> bool:
        options = {"apt": True, "dev": dev, "build": build, "image": image}
        return system_packages.add_to_list(project, argparse.Namespace(name=[*names], **options))

    return call


def text_of(project: Project, name: str) -> str:
    return (project.folder / "dependencies" / name).read_text()


# --- the table ------------------------------------------------------------------------------------


def test_every_entry_of_the_table_can_be_found_and_installed() -> None:
    table = read_table()
    packages, wheels = table["packages"], table["wheels"]
    for name in (*packages.values(), *(one for e in wheels.values() for one in e.get("build", ()))):
        assert APT_NAME.fullmatch(name)
        assert "t64" not in name  # not every distribution has it
    for name, entry in wheels.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(<\d+(\.\d+)*)?", name)
        assert entry.keys() <= {"needs", "build", "says", "source", "unless"}
        assert entry["needs"]
        assert set(entry["needs"]) <= packages.keys()
        assert re.match(r"https://|readelf -d of ", entry["source"])
    for names in (packages, wheels):
        assert list(names) == sorted(names)


# --- what a lock brings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lock", "text"),
    [
        ("uv.lock", '[[package]]\nname = "{}"\nversion = "1"\ndependencies = [{{ name = "a" }}]\n'),
        ("pip.lock", "{}==1.0 \\\n    --hash=sha256:0\n"),
    ],
)
def test_new_packages_of_a_lock_name_what_no_list_has(
    project: Project, capsys: pytest.CaptureFixture[str], lock: str, text: str
) -> None:
    file = project.folder / "dependencies" / lock
    file.write_text(text.format("pdf2image"))
    with system_packages.needs_named(project):
        names = ("pdf2image", "opencv-python", "psycopg2", "numpy")
        file.write_text("".join(text.format(name) for name in names))
    said = capsys.readouterr().err
    assert "opencv-python: libglib2.0-0 libxcb1\n" in said
    assert "psycopg2: libpq5, to compile it libpq-dev\n" in said
    assert "pdf2image" not in said  # it was there before
    command = "template.sh add --apt libglib2.0-0 libxcb1 libpq5 && ./docker-amd64/template.sh add"
    assert f"{command} --apt --build libpq-dev\n" in said


def test_nothing_is_said_where_a_list_has_all(
    project: Project, add: Add, capsys: pytest.CaptureFixture[str]
) -> None:
    add("libglib2.0-0:amd64", "libxcb1")
    capsys.readouterr()
    assert system_packages.needs_lines(project, {"opencv-python": "5", "numpy": "2"}) == []


@pytest.mark.parametrize(
    ("lock", "command"),
    [
        ("soundfile==0.11.0\n", "--apt libsndfile1"),
        ("soundfile==0.13.1\n", ""),
        ("Cartopy==0.21.1\n", "--apt libgeos-c1v5 && {} add --apt --build libgeos-dev"),
        ("cartopy==0.25.0\n", ""),
        ("pygraphviz==1.14\n", "--apt graphviz && {} add --apt --build libgraphviz-dev"),
        ("psycopg==3.3.1\n", "--apt libpq5"),
        ("psycopg==3.3.1\npsycopg-binary==3.3.1\n", ""),
    ],
)
def test_what_only_some_releases_need_is_named_for_those(
    project: Project, capsys: pytest.CaptureFixture[str], lock: str, command: str
) -> None:
    rows = [line.partition("==") for line in lock.splitlines()]
    as_uv = "".join(f'name = "{name}"\nversion = "{version}"\n' for name, _, version in rows)
    for name, text in (("pip.lock", lock), ("uv.lock", as_uv)):
        with system_packages.needs_named(project):
            (project.folder / "dependencies" / name).write_text(text)
        said = capsys.readouterr().err
        wanted = f"add {command.format(me())}\n" if command else ""
        assert said.endswith(wanted)
        assert bool(said) == bool(command)
        (project.folder / "dependencies" / name).unlink()


# --- add --apt ------------------------------------------------------------------------------------


def test_add_apt_writes_a_name_once_into_the_list_that_is_meant(project: Project, add: Add) -> None:
    add("libegl1", "tzdata", "libegl1")
    assert text_of(project, "apt-runtime.txt") == "# Yours:\nlibgl1 # for cv2\ntzdata\nlibegl1\n"
    add("ncdu", dev=True)
    assert text_of(project, "apt-dev.txt") == "ncdu\n"
    add("libpq-dev", build=True)
    assert text_of(project, "apt-build.txt") == "libpq-dev\n"


@pytest.mark.parametrize(
    ("name", "command"),
    [("libGL.so.1", "add --apt libgl1"), ("pdfinfo", "add --apt poppler-utils"), ("a b", "--help")],
)
def test_what_is_no_package_of_apt_is_refused_with_what_is_meant(
    project: Project, add: Add, name: str, command: str
) -> None:
    before = text_of(project, "apt-runtime.txt")
    with pytest.raises(StopError) as stop:
        add(name)
    assert stop.value.command.endswith(command)
    assert text_of(project, "apt-runtime.txt") == before


@pytest.mark.parametrize("apt", [True, False])
def test_an_empty_name_is_refused_before_anything_starts(project: Project, *, apt: bool) -> None:
    options = argparse.Namespace(name=["scipy", " "], apt=apt, dev=False, build=False)
    with pytest.raises(StopError, match='"" is not the name of a package'):
        system_packages.add_to_list(project, options)


@pytest.mark.parametrize(
    "options", [{"apt": False, "build": True}, {"build": True, "dev": True}, {"image": True}]
)
def test_options_that_do_not_go_together_are_refused(
    project: Project, options: dict[str, bool]
) -> None:
    given = {"apt": True, "dev": False, "build": False, "image": False, **options}
    with pytest.raises(StopError):
        system_packages.add_to_list(project, argparse.Namespace(name=["libegl1"], **given))


# --- after a failure ------------------------------------------------------------------------------


def explained(text: str, installed: Collection[str], there: Collection[str] = ()) -> str:
    """What a container prints, where these wheels and these libraries are."""
    return explanation(
        text,
        read_table(),
        "./template.sh",
        is_installed=installed.__contains__,
        is_there=there.__contains__,
    )


def test_a_container_and_the_program_explain_an_import_error_in_the_same_words(
    project: Project,
) -> None:
    (project.folder / "dependencies/uv.lock").write_text('name = "opencv-python"\n')
    stop = explain(project, f"ImportError: {NO_LIBRARY}")
    assert stop
    assert stop.name == "system-library-missing"
    said = explained(f"ImportError: {NO_LIBRARY}", {"opencv-python"})
    assert said == str(stop).replace("./docker-amd64/", "./")
    assert "add --apt libgl1 libglib2.0-0 libxcb1 && " in said


def test_what_the_image_has_is_not_asked_for() -> None:
    said = explained(NO_LIBRARY, {"opencv-python"}, {"libxcb.so.1"})
    assert "add --apt libgl1 libglib2.0-0 && " in said
    assert explained(NO_LIBRARY, set(), {"libGL.so.1"}) == ""


@pytest.mark.parametrize(
    ("text", "installed", "package"),
    [
        (NO_LIBRARY, "", "libgl1"),
        ("failed to find libmagic.  Check your installation", "python-magic", "libmagic1"),
        ("[Errno 2] No such file or directory: 'ffprobe'", "", "ffmpeg"),
        ("Unable to get page count. Is poppler installed and in PATH?", "pdf2image", "poppler"),
    ],
)
def test_words_of_a_package_are_understood(text: str, installed: str, package: str) -> None:
    assert f"add --apt {package}" in explained(text, {installed})


@pytest.mark.parametrize(
    "text", ["libmine.so: cannot open shared object file", "No such file or directory: 'a.txt'", ""]
)
def test_an_error_that_the_table_does_not_know_is_left_alone(project: Project, text: str) -> None:
    assert explained(text, set(read_table()["wheels"])) == ""
    assert explain(project, text) is None


def test_a_package_that_cannot_be_compiled_names_what_compiles_it(project: Project) -> None:
    stop = explain(project, "Failed to build `psycopg2==2.9.10`")
    assert stop
    assert stop.name == "package-build"
    assert stop.command.endswith("template.sh add --apt --build libpq-dev")
    stop = explain(project, "Failed to build `night-jar==1.0`")
    assert stop
    assert stop.command.endswith("apt-build.txt")


@pytest.mark.parametrize(
    ("program", "explains"),
    [
        (f"try:\n 1/0\nexcept Exception as e:\n raise ImportError({NO_LIBRARY!r}) from e", True),
        (
            f"try:\n raise OSError({NO_LIBRARY!r})\nexcept OSError:\n raise ValueError from None",
            True,
        ),
        (f"try:\n raise OSError({NO_LIBRARY!r})\nexcept OSError:\n pass", False),
        ("raise ValueError", False),
        ("pass", False),
    ],
)
def test_only_the_error_that_ends_a_program_is_explained(program: str, explains: bool) -> None:
    first = f"import missing_library as m; m.TABLE = {str(TABLE)!r}; m.is_there = lambda _: False"
    done = subprocess.run(
        [sys.executable, "-c", f"{first}; m.watch(); m.watch()\n{program}\n"],
        cwd=TABLE.parent,
        env={"TEMPLATE_SH": "sub/template.sh"},
        capture_output=True,
        text=True,
        check=False,
    )
    traceback, found, told = done.stderr.partition("\nThis program needs libGL.so.1")
    assert bool(found) == explains
    if explains:
        assert done.returncode == 1
        assert traceback.startswith("Traceback")
        assert told.count("Run: sub/template.sh add --apt libgl1") == 1
