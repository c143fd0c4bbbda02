"""What `template.sh import` makes of the files in which people list packages."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import conda_intake
import import_files
from host import images, imports, pip_packages
from host.project import Project, StopError, read_project
from import_files import Line, edited, pin_at_fault, those_that_can_be_had
from intake.found import Wanted
from intake.text import say
from tests.conftest import ROOT, Generate
from tests.support.wheels import make_wheel
from uv_project import reason_in

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IMAGE = ROOT / "template/docker-amd64/image"
PYPROJECT = """\
# ours
[project]
name = "container-dependencies"
requires-python = ">=3.10"
version = "0"
dependencies = []

[dependency-groups]
dev = [
    "early",
]
project = ["project-requirements"]

[tool.uv]
package = false

# The index of PyTorch
[[tool.uv.index]]
name = "pytorch"
url = "https://mirror.example/cpu"
explicit = true

[tool.uv.sources]
project-requirements = { path = "project" }
"""

NO_VERSION = """\
Using CPython 3.11
error: No solution found when resolving dependencies:
  cause: Because there is no version of a==9 and your project depends on a==9, we can conclude that
"""
NO_HOST = """\
   Updating https://x.example/a (HEAD)
error: Failed to download and build `a`
  cause: Git operation failed
         --- stderr
         fatal: unable to access 'https://me:secret@x.example/a/': no host
"""

NO_MODULE = """\
error: Failed to build `old-news==0.4.3`
  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)

         [stderr]
         Traceback (most recent call last):
           File "<string>", line 6, in <module>
         ModuleNotFoundError: No module named 'pkg_resources'

hint: This error likely indicates that `old-news@0.4.3` depends on `pkg_resources`, but doesn't

or `uv pip install pkg_resources` into the environment
"""

Import = Callable[..., int]


@pytest.fixture(scope="module")
def generated(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import") / "project"
    return generate(folder, project_kind="existing", accelerator="cpu", torch_version="none")


@pytest.fixture
def project(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose containers are this machine, with few wheels to choose from."""
    folder = tmp_path / "my code"
    shutil.copytree(generated, folder)
    found = read_project(folder / "docker-amd64")
    dependencies = found.folder / "dependencies"
    (dependencies / "pyproject.toml").write_text(PYPROJECT)

    def tools(_: Project, *words: str, capture: bool = False) -> str:
        places = {"/opt/venv/bin/python": sys.executable, "/opt/container": str(IMAGE)}
        command = list(words)
        for old, new in places.items():
            command = [word.replace(old, new) for word in command]
        options = [f"--code={folder}", f"--dependencies={dependencies}"]
        done = subprocess.run(
            [*command[:3], *options, *command[3:]],
            cwd=dependencies,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StopError("it failed")
        return done.stdout if capture else ""

    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("early", "late", "night"):
        for version in ("1.0", "2.0"):
            make_wheel(wheels, name, version)
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))  # nothing that others have read
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("CALLED_FROM", str(folder))
    monkeypatch.setattr(pip_packages, "tools", tools)
    for module in (imports, pip_packages):
        monkeypatch.setattr(module, "build_tools", lambda _: None)
    return found


@pytest.fixture
def run(project: Project) -> Import:
    def call(*files: str, yes: bool = True) -> int:
        return imports.do_import(project, argparse.Namespace(file=[*files], yes=yes))

    return call


def pyproject(project: Project) -> Any:
    return tomllib.loads((project.folder / "dependencies/pyproject.toml").read_text())


def listed(project: Project) -> list[str]:
    return list(pyproject(project)["project"]["dependencies"])


def all_files(project: Project) -> dict[str, bytes]:
    folder = project.folder / "dependencies"
    return {str(one): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_each_line_is_in_one_of_three_lists_and_the_difference_is_shown(
    project: Project, run: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "early>=1\n-r more.txt\n-e .\ncolorama ; sys_platform == 'win32'\n"
    (project.root / "requirements.txt").write_text(lines)
    (project.root / "more.txt").write_text("late\n")
    (project.root / "requirements-dev.txt").write_text("night==1.0\n")
    assert run() == 0
    said = capsys.readouterr().out
    taken, _, rest = said.partition("Left out (2):")
    assert "more.txt:1  late" in taken
    assert "requirements.txt:3  -e ." in rest
    assert '+    "early>=1",' in rest
    assert listed(project) == ["early>=1", "late"]
    assert pyproject(project)["dependency-groups"]["dev"] == ["early", "night==1.0"]
    assert 'name = "late"' in (project.folder / "dependencies/uv.lock").read_text()
    before = all_files(project)
    assert run() == 0
    assert all_files(project) == before


def test_a_line_that_cannot_be_had_stops_itself_only(
    project: Project, run: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "early\nnowhere==1\nlate>=9\nowl @ https://127.0.0.1:9/owl-1.0-py3-none-any.whl\n"
    (project.root / "requirements.txt").write_text(f"{lines}hen @ git+file:///nowhere\nlate2\n")
    (project.root / "requirements-dev.txt").write_text("night==2.0\n")
    assert run() == 0
    left_out = capsys.readouterr().out.partition("Left out")[2].partition("---")[0]
    assert listed(project) == ["early"]
    assert pyproject(project)["dependency-groups"]["dev"] == ["early", "night==2.0"]
    for place in (2, 3, 4, 5, 6):
        assert f"requirements.txt:{place}  " in left_out
    assert "left out, as it cannot be had: only late<=2.0 is available" in left_out


def test_an_index_that_cannot_be_read_takes_no_package_with_it(
    project: Project,
    run: Import,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "index").as_uri())
    monkeypatch.setenv("UV_OFFLINE", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    lines = "--extra-index-url http://127.0.0.1:9/simple/\nearly\nlate>=9\nlate2\n"
    (project.root / "requirements.txt").write_text(lines)
    (project.root / "requirements-dev.txt").write_text("night\n")
    assert run() == 0
    left_out = capsys.readouterr().out.partition("Left out (3)")[2].partition("---")[0]
    assert "requirements.txt:1  --extra-index-url http://127.0.0.1:9/simple/" in left_out
    assert listed(project) == ["early"]
    assert pyproject(project)["dependency-groups"]["dev"] == ["early", "night"]
    assert [one["name"] for one in pyproject(project)["tool"]["uv"]["index"]] == ["pytorch"]


def test_what_uv_cannot_lock_without_the_lines_stops_the_import(
    project: Project, run: Import
) -> None:
    (project.root / "requirements.txt").write_text("late\n")
    file = project.folder / "dependencies/pyproject.toml"
    file.write_text(PYPROJECT.replace('"early"', '"missing"'))
    before = file.read_text()
    with pytest.raises(StopError):
        run()
    assert file.read_text() == before
    assert not (project.folder / "dependencies/imported.json").exists()


def test_a_second_import_takes_what_changed_in_the_file_and_keeps_edits(
    project: Project, run: Import
) -> None:
    source = project.root / "requirements.txt"
    source.write_text("early>=1\nlate==1.0\nnight==1.0\n")
    run()
    file = project.folder / "dependencies/pyproject.toml"
    file.write_text(file.read_text().replace("early>=1", "early<3"))
    source.write_text("early>=1\nlate==2.0\n")
    assert imports.changed_files(project) == ["requirements.txt"]
    run()
    assert listed(project) == ["early<3", "late==2.0"]
    assert imports.changed_files(project) == []


def test_a_file_that_is_named_is_imported_again_later(
    project: Project, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "requirements.txt").write_text("early\n")
    (project.root / "lists").mkdir()
    (project.root / "lists/of_mine.txt").write_text("late\n")
    monkeypatch.setenv("CALLED_FROM", str(project.root / "lists"))
    run("of_mine.txt")
    assert listed(project) == ["late"]
    (project.root / "lists/of_mine.txt").write_text("late<2\n")
    assert imports.changed_files(project) == ["lists/of_mine.txt"]
    run()
    assert sorted(listed(project)) == ["early", "late<2"]


def test_a_changed_file_is_named_before_a_build(
    project: Project,
    run: Import,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = project.root / "requirements.txt"
    source.write_text("early\n")
    run()
    for name in ("refuse_passwords", "pin_all"):
        monkeypatch.setattr(images, name, lambda _: None)
    capsys.readouterr()
    images.before_build(project)
    assert capsys.readouterr().err == ""
    source.write_text("early\nlate\n")
    images.before_build(project)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("requirements.txt has changed since")
    assert line.endswith("template.sh import")
    assert listed(project) == ["early"]


def test_nothing_is_written_without_a_yes(
    project: Project, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "requirements.txt").write_text("early\n")
    run_before = all_files(project)
    with pytest.raises(StopError) as stopped:
        run("requirements.txt", yes=False)
    assert stopped.value.name == "import-not-confirmed"
    assert stopped.value.command.endswith("import -y requirements.txt")
    for answer, status in (("n", 1), ("", 1), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert run(yes=False) == status
        changed = {*all_files(project).items()} - {*run_before.items()}
        of_user = [name for name, _ in changed if not name.endswith(("files.json",))]
        assert bool(of_user) == (status == 0)


def test_files_that_cannot_be_imported(
    project: Project, run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("early\n")
    for name, failure in (
        (str(outside), "import-file-outside"),
        ("missing.txt", "import-file-missing"),
    ):
        with pytest.raises(StopError) as stopped:
            run(name)
        assert stopped.value.name == failure
    (project.root / "below").mkdir()
    (project.root / "below/requirements.txt").write_text("early\n")
    with pytest.raises(StopError) as stopped:
        run()
    assert stopped.value.name == "nothing-to-import"
    assert "template.sh import below/requirements.txt takes it" in capsys.readouterr().out
    metadata = project.root / "setup.py"
    metadata.write_text("from setuptools import setup\nsetup(install_requires=['early'])\n")
    with pytest.raises(StopError):
        run()
    assert "Every lock has what setup.py requires." in capsys.readouterr().out
    metadata.unlink()
    broken = project.root / "environment.yml"
    broken.write_text("dependencies: [\n")
    for names in ([], [str(broken)]):
        with pytest.raises(StopError) as stopped:
            run(*names)
        assert stopped.value.name == "import-file-unreadable"
        assert stopped.value.command.endswith("environment.yml'")


def test_where_the_lock_fails_nothing_changes(
    project: Project, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "requirements.txt").write_text("early\n")
    run()
    (project.root / "requirements.txt").write_text("late\n")
    before = all_files(project)

    def fails(_: Project) -> None:
        raise StopError("it failed")

    monkeypatch.setattr(pip_packages, "lock", fails)
    with pytest.raises(StopError):
        run()
    assert all_files(project) == before


def test_the_first_lock_of_existing_code_imports_what_it_lists(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "requirements.txt").write_text("early\n-e .\n")
    pip_packages.lock(project)
    said = capsys.readouterr().err
    assert "Imported the packages of requirements.txt into dependencies/." in said
    assert "-e .: left out" in said
    assert listed(project) == ["early"]
    (project.root / "requirements.txt").write_text("late\n")
    pip_packages.lock(project)
    assert listed(project) == ["early"]


def test_a_file_that_the_first_lock_cannot_read_is_named_until_it_is_imported(
    project: Project, run: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project.root / "environment.yml"
    file.write_text("dependencies: [\n")
    pip_packages.lock(project)
    assert "environment.yml: left out, environment.yml " in capsys.readouterr().err
    file.write_text("dependencies: [pip: [late]]\n")
    assert imports.changed_files(project) == ["environment.yml"]
    run()
    assert listed(project) == ["late"]


def test_the_first_lock_only_names_files_beside_packages_that_are_listed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "requirements.txt").write_text("late\n")
    file = project.folder / "dependencies/pyproject.toml"
    file.write_text(PYPROJECT.replace("dependencies = []", 'dependencies = ["night"]'))
    pip_packages.lock(project)
    assert "requirements.txt lists packages that are not imported" in capsys.readouterr().err
    assert listed(project) == ["night"]


# --- the file of pip ------------------------------------------------------------------------------


def test_what_is_added_can_be_removed_to_the_last_byte() -> None:
    add = [
        Line("index", "https://wheels.example/simple"),
        Line("find-links", "https://wheels.example/list.html"),
        Line("constraint", "numpy<3"),
        Line("pip:main", "flash-attn==2"),
        Line("pip:dev", "early>=2"),
    ]
    after = edited(PYPROJECT, add, [], {"flash-attn": ["torch"]})
    uv = tomllib.loads(after)["tool"]["uv"]
    assert uv["find-links"] == ["https://wheels.example/list.html"]
    assert uv["constraint-dependencies"] == ["numpy<3"]
    assert uv["extra-build-dependencies"] == {"flash-attn": ["torch"]}
    assert [one["url"] for one in uv["index"]][1:] == ["https://wheels.example/simple"]
    assert "# The index of PyTorch\n[[tool.uv.index]]\n" in after
    assert edited(after, add, [], {"flash-attn": ["torch"]}) == after
    before = tomllib.loads(edited(after, [], add))
    assert before["project"]["dependencies"] == []
    assert not any(
        before["tool"]["uv"].get(name) for name in ("find-links", "constraint-dependencies")
    )
    assert not before["tool"]["uv"]["extra-build-dependencies"]
    assert len(before["tool"]["uv"]["index"]) == 1


def test_few_tries_find_the_lines_at_fault() -> None:
    lines = [Line("pip:main", str(number)) for number in range(64)]
    tries: list[int] = []

    def fails(some: Any) -> str:
        tries.append(len(some))
        return "bad" if lines[41] in some or lines[7] in some else ""

    kept, refused = those_that_can_be_had(lines, fails)
    assert [*refused] == [lines[7], lines[41]]
    assert len(kept) == len(lines) - 2
    assert len(tries) < 30


def test_pins_that_uv_cannot_build_cost_a_try_each() -> None:
    lines = [Line("pip:main", f"old-{number} == 1.{number}") for number in range(9)]
    lines += [Line("pip:main", f"new{number}") for number in range(6)]
    tries = []

    def fails(some: Sequence[Line]) -> str:
        tries.append(some)
        pins = [line.text for line in some if "==" in line.text]
        name = pins[-1].replace(" ", "") if pins else ""
        return f"error: Failed to download and build `{name}`" if pins else ""

    kept, refused = those_that_can_be_had(
        lines, fails, lambda some: pin_at_fault(fails(tries.pop()), some)
    )
    assert {*refused} == {*lines[:9]}
    assert kept == lines[9:]
    assert len(tries) == 10


@pytest.mark.parametrize("text", ["x", "x>=1", "x==2", "y==1"])
def test_a_line_that_may_be_had_in_another_version_is_not_at_fault(text: str) -> None:
    lines = [Line("pip:main", text), Line("pip:main", "z")]
    assert pin_at_fault("Failed to build `x==1`", lines) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (NO_VERSION, "there is no version of a==9"),
        (
            NO_HOST,
            "Failed to download and build `a`: unable to access 'https://x.example/a/': no host",
        ),
        (
            NO_MODULE,
            (
                "Failed to build `old-news==0.4.3`: "
                "ModuleNotFoundError: No module named 'pkg_resources'"
            ),
        ),
        ("", ""),
    ],
)
def test_the_reason_of_uv_is_one_clause(said: str, reason: str) -> None:
    assert reason_in(said) == reason


def test_a_package_that_imports_what_it_does_not_ask_for_is_taken_with_that(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = 'old-news = ["setuptools<82"]'

    def fails(lock: import_files.Lock, text: str) -> str:
        (lock.folder / "uv.lock").touch()
        lock.said = "" if wanted in text or "old-news" not in text else NO_MODULE
        return reason_in(lock.said)

    monkeypatch.setattr(import_files.Lock, "fails", fails)
    (project.root / "requirements.txt").write_text("early\nold-news==0.4.3\n")
    plan = import_files.plan(project.root, project.folder / "dependencies", [], Wanted("pip"))
    assert plan["left_out"] == []
    assert wanted in str(plan["files"])
    assert "old-news is built with setuptools<82" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text("[project")
    (tmp_path / "requirements.txt").write_text("early\n")
    options = [f"--code={tmp_path}", f"--dependencies={tmp_path}"]
    assert import_files.main(options) == 1
    assert "pyproject.toml cannot be read" in capsys.readouterr().err


# --- the files of conda ---------------------------------------------------------------------------


def test_an_import_merges_into_environment_files(tmp_path: Path) -> None:
    folder, code = tmp_path / "dependencies", tmp_path / "code"
    folder.mkdir()
    code.mkdir()
    head = "channels:\n  - conda-forge\ndependencies:\n  - python=3.12\n  # Yours: here\n"
    (folder / "environment.yml").write_text(f"{head}  - mine\n")
    (folder / "environment-dev.yml").write_text("dependencies:\n  # Yours: here\n  - ruff\n")
    wanted = Wanted(manager="conda", python="3.12")

    def merge(text: str) -> list[str]:
        source = f"channels: [bioconda, conda-forge]\ndependencies:\n{text}"
        (code / "environment.yml").write_text(source)
        plan: Any = json.loads(json.dumps(conda_intake.plan(folder, code, [], wanted)))
        for name, content in plan["files"].items():
            (folder / name).write_text(content)
        lines = (folder / "environment.yml").read_text().splitlines()
        assert "  - bioconda" in lines
        return [line.strip() for line in lines[lines.index("  # Yours: here") + 1 :]]

    first = merge("  - numpy=2.1\n  - scipy\n  - pip: [rich, einops]\n")
    assert first == ["- mine", "- numpy=2.1", "- scipy", "- pip:", "- rich", "- einops"]
    again = merge("  - numpy=2.2\n  - pip: [rich]\n")
    assert again == ["- mine", "- numpy=2.2", "- pip:", "- rich"]


def test_commands_that_a_container_names_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs in containers do not know from where the user calls template.sh."""
    monkeypatch.setenv("TEMPLATE_SH", "./docker-amd64/template.sh")
    reason = "an answer decides it (template.sh update --data a=1); or run: ./template.sh add b"
    entry = {"file": "a.yml", "line": 1, "text": "b", "becomes": "", "reason": reason}
    line = imports.judged_line(entry)
    assert line.count("./docker-amd64/template.sh ") == line.count("template.sh ") == 2
    assert "docker-amd64/./" not in line
    say("If PyPI has it, run: ./template.sh add --pip b")
    assert capsys.readouterr().err.endswith("run: ./docker-amd64/template.sh add --pip b\n")
