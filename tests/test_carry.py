"""Another package manager: each thing that a user may have in dependencies/ moves, or is named.

The files are those that the template renders, with what a user writes into them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import conda_file
from hooks.generate import packages, toml_text
from intake import conda_specs, record
from intake.found import Wanted
from intake.text import FileError
from tests.conftest import Generate, InGit
from tests.support.git import git
from tests.support.switching import Project
from tests.support.updates import update

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PIP, MAIN, DEV, CUDA = (
    *("pyproject.toml", "environment.yml"),
    *("environment-dev.yml", "environment-cuda.yml"),
)
OF_CUDA = """\
channels:
  - conda-forge
  - nodefaults
dependencies:
  - pytorch-gpu=2.13.0
  - cuda-version=12.9
"""
Files = dict[str, str]
LOCK = "@EXPLICIT\n" + "".join(
    f"https://conda.anaconda.org/conda-forge/linux-64/{name}.conda#sha256:0\n"
    for name in ("scipy-1.15.0-py312h0_0", "tool-7.1-h0", "libthing-1-pyhd8ed1ab_0")
)


@pytest.fixture(scope="module")
def rendered(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """The dependency files of a new project, by its package manager."""
    found = {}
    for manager in ("pip", "conda"):
        project = generate(tmp_path_factory.mktemp(manager) / "demo", package_manager=manager)
        folder = project / packages.DEPENDENCIES
        names = (PIP,) if manager == "pip" else (MAIN, DEV)
        found[manager] = {name: (folder / name).read_text() for name in names}
    return found


class Switched(NamedTuple):
    """A project after a switch: what was said, and the lines of the lists for all and for dev."""

    project: Project
    said: str
    main: list[str]
    dev: list[str]

    @property
    def text(self) -> str:
        """The new dependency files."""
        new = [self.project.folder / name for name in (PIP, MAIN, DEV)]
        return "".join(file.read_text() for file in new if file.exists())


def switch(folder: Path, manager: str, old: Files, new: Files) -> Switched:
    """Another package manager, as a copy brings it."""
    project = Project(folder, in_git=False)
    project.describe(manager)
    for name, text in {**old, **new}.items():
        (project.folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    said = "\n".join(packages.carry(project.root, manager, "."))
    assert packages.carry(project.root, manager, ".") == []
    if manager == "pip":
        lists = tomllib.loads(project.read(PIP))
        main, dev = lists["project"]["dependencies"], lists["dependency-groups"]["dev"]
    else:
        environments = [conda_file.parse(project.read(name), name) for name in (MAIN, DEV)]
        main, dev = ([*one.conda, *one.pip] for one in environments)
    return Switched(project, said, main, dev)


class Row(NamedTuple):
    """A thing that a user may have.

    Attributes:
        edit: what it is replaced in a file, and by what: one pair or several; or what makes the
            whole file.
        main: the lines for all images that it becomes.
        said: what is named of it.
        dev: the lines for dev, beside the template's.
        without: tools of the template that the user had removed.
        file: where it is.
        lock: a conda.lock beside it.
    """

    edit: tuple[tuple[str, str], ...] | Callable[[str], str]
    main: Sequence[str] = ()
    said: tuple[str, ...] = ()
    dev: Sequence[str] = ()
    without: tuple[str, ...] = ()
    file: str = ""
    lock: str = ""

    def of(self, text: str) -> str:
        """The text of a file with the edit."""
        if callable(self.edit):
            return self.edit(text)
        for old, new in self.edit:
            assert old in text
            text = text.replace(old, new, 1)
        return text


def check(done: Switched, row: Row, tools: set[str]) -> None:
    """Compare a switch with its row: nothing moves that the row does not list."""
    assert sorted(done.main) == sorted(row.main)
    assert sorted(done.dev) == sorted([*(tools - {*row.without} - named(row.dev)), *row.dev])
    for words in row.said:
        assert words in done.said
    if not row.said:
        assert done.said.count("\n") == 0


def named(lines: Sequence[str]) -> set[str]:
    return {re.split(r"[^\w-]", line)[0] for line in lines}


TOOLS = {"ipython", "pytest", "ruff"}
EMPTY = "dependencies = []"
GROUP = "\n# The template owns all that follows"
UV = "[tool.uv]\n"
AS_TABLE = '\n[tool.uv.sources.a]\ngit = "https://h/a"\n'
END = '\n[tool.uv.sources]\nproject-requirements = { path = "project" }\n'


def listed(*lines: str) -> tuple[tuple[str, str], ...]:
    """An edit: lines of TOML in the list for all images."""
    rows = "".join(f"    {line}\n" for line in lines)
    return ((EMPTY, f"dependencies = [\n{rows}]"),)


def source(line: str, text: str) -> tuple[tuple[str, str], ...]:
    """An edit: a requirement, and something in [tool.uv.sources]."""
    return (*listed(f'"{line}",'), (END, f"{END}{text}\n"))


FROM_PIP = {
    "extras, markers, an address": Row(
        listed('"pandas[excel]>=2",', "\"a; python_version >= '3.10'\",", '"b @ git+https://h/b",'),
        ["pandas[excel]>=2", "a; python_version >= '3.10'", "b @ git+https://h/b"],
    ),
    "one name, two markers": Row(
        listed("\"a<1; python_version < '3.11'\",", "\"a>=1; python_version >= '3.11'\","),
        ["a>=1; python_version >= '3.11'"],
        ("a<1; python_version < '3.11': left out, as another line",),
    ),
    "one name, two lines": Row(listed('"a>=1",', '"a<3",'), ["a>=1,<3"], ("a>=1: taken with",)),
    "comments on lines": Row(listed("# why a", '"a<2",  # until #12', '"b",'), ["a<2", "b"]),
    "a line that is commented out": Row(
        listed('"a",', '# "wandb",'), ["a"], ('# "wandb",: a comment on no line',)
    ),
    "TOML in other forms": Row(
        ((EMPTY, '\'dependencies\' = [\'a\', """b""", "\\u0063"]'),), ["a", "b", "c"]
    ),
    "other line ends and a mark": Row(
        lambda text: "\ufeff" + text.replace(EMPTY, 'dependencies = ["a"]').replace("\n", "\r\n"),
        ["a"],
    ),
    "a path": Row(listed('"a @ file:///home/me/a",'), [], ("a @ file:///home/me/a: left out",)),
    "torch": Row(listed('"torch>=2",'), [], ("torch>=2: left out, as the answers decide it",)),
    "what follows torch": Row(
        listed('"torchvision==0.1",'), ["torchvision"], ("torchvision==0.1: left to conda",)
    ),
    "setuptools": Row(listed('"setuptools<81",'), ["setuptools<81"]),
    "a tool with a version": Row((('"pytest"', '"pytest==8.*"'),), dev=["pytest=8"]),
    "a tool with an extra": Row(
        (('"ipython"', '"ipython[all]"'),), [], ("ipython[all]: environment-dev.yml has it",)
    ),
    "a tool that was removed": Row((('    "ruff",\n', ""),), without=("ruff",)),
    "a group": Row(
        ((GROUP, f'docs = ["sphinx"]\n{GROUP}'),), [], ('groups] docs = ["sphinx"]: not possible',)
    ),
    "a group that dev includes": Row(
        (
            ('    "ruff",\n', '    "ruff",\n    { include-group = "lint" },\n'),
            (GROUP, f'lint = ["mypy"]\n{GROUP}'),
        ),
        [],
        ("[dependency-groups] lint: its packages are moved",),
        dev=["mypy"],
    ),
    "in a group of the template": Row(
        (('"setuptools>=77"', '"setuptools>=77,<81", "wheel"'),), ["setuptools>=77,<81", "wheel"]
    ),
    "in the group of torch": Row((('torch = ["numpy"', 'torch = ["numpy<2"'),), ["numpy<2"]),
    "extras of the file": Row(
        (("\n[dep", '\n[project.optional-dependencies]\nviz = ["bokeh"]\n\n[dep'),),
        [],
        ('[project.optional-dependencies] viz = ["bokeh"]',),
    ),
    "another Python": Row(
        (('requires-python = "==3.12.*"', 'requires-python = "==3.12.4"'),),
        [],
        ('[project] requires-python = "==3.12.4": an answer decides it',),
    ),
    "an index": Row(
        ((END, f'\n[[tool.uv.index]]\nname = "mine"\nurl = "https://me:secret@h/simple"\n{END}'),),
        [],
        ('[[tool.uv.index]] { name = "mine", url = "https://h/simple" }',),
    ),
    "a mirror of PyTorch's index": Row(
        (("https://download.pytorch.org/whl/cpu", "https://h/whl/cpu"),),
        [],
        ('[[tool.uv.index]] { name = "pytorch", url = "https://h/whl/cpu"',),
    ),
    "a setting of uv": Row(
        ((UV, f'{UV}override-dependencies = ["numpy<2"]\n'),),
        [],
        ('[tool.uv] override-dependencies = ["numpy<2"]',),
    ),
    "a setting of the template": Row(
        (("default-groups = []", 'default-groups = ["docs"]'),), [], ('default-groups = ["docs"]',)
    ),
    "a table of uv": Row(
        ((END, f'\n[tool.uv.extra-build-dependencies]\na = ["numpy"]\n{END}'),),
        [],
        ('[tool.uv.extra-build-dependencies] a = ["numpy"]',),
    ),
    "another table": Row(
        ((END, f"\n[tool.ruff]\nline-length = 99\n{END}"),), [], ("[tool.ruff] line-length",)
    ),
    "a source in git": Row(
        source("a", "a = { git = 'https://h/a', tag = \"v1\", subdirectory = 'x' }"),
        ["a @ git+https://h/a@v1#subdirectory=x"],
    ),
    "a source beside a version": Row(
        source("a>=1", "a = { url = 'https://h/a.zip' }"),
        ["a @ https://h/a.zip"],
        ("a>=1: taken at its address, without its version",),
    ),
    "a source as a table": Row(
        lambda text: text.replace(EMPTY, "dependencies = ['a']") + AS_TABLE,
        ["a @ git+https://h/a"],
    ),
    "a source with a marker": Row(
        source("a", "a = [{ git = 'https://h/a', marker = \"sys_platform == 'linux'\" }]"),
        ["a"],
        ("[tool.uv.sources] a = [{ git",),
    ),
    "a source of an index": Row(
        source("a", 'a = { index = "mine" }'), ["a"], ('[tool.uv.sources] a = { index = "mine" }',)
    ),
    "a source of what others need": Row(
        source("a", "b = { git = 'https://h/b' }"), ["a"], ("[tool.uv.sources] b = { git",)
    ),
    "a wheel of the user's": Row(
        source("a", 'a = { path = "wheels/a.whl" }'),
        [],
        ("a: left out, as it is a file", '[tool.uv.sources] a = { path = "wheels/a.whl" }'),
    ),
    "no list": Row(
        ((EMPTY, 'dependencies = "a"'),), [], ('[project] dependencies = "a": it is no list',)
    ),
}


@pytest.mark.parametrize("row", FROM_PIP.values(), ids=FROM_PIP)
def test_what_pip_has_is_conda_s_or_named(
    row: Row, rendered: dict[str, Files], tmp_path: Path
) -> None:
    old = {PIP: row.of(rendered["pip"][PIP])}
    done = switch(tmp_path, "conda", old, rendered["conda"])
    check(done, row, TOOLS)
    kept = done.project.folder / f"{PIP}.old"
    assert kept.exists() == bool(row.said)
    assert kept.name in done.said or not row.said


def conda(*rows: str, lock: str = LOCK, **more: Any) -> dict[str, Any]:
    """An edit: rows of YAML below `# Yours:`, with a conda.lock."""
    return {"edit": lambda text: text + "".join(f"{row}\n" for row in rows), "lock": lock, **more}


FROM_CONDA = {
    "a package that is locked": Row(**conda("  - scipy=1.15"), main=["scipy==1.15.*"]),
    "a locked package with a library's name": Row(**conda("  - libthing"), main=["libthing"]),
    "a locked package that is not Python's": Row(
        **conda("  - tool>=7"), said=("tool>=7: left out, as it is no Python package",)
    ),
    "no lock yet": Row(
        **conda("  - scipy", "  - ffmpeg", "  - libpng", "  - r-ggplot2", lock=""),
        main=["scipy"],
        said=(
            *("scipy: taken from PyPI by name", "ffmpeg: left out", "apt has it"),
            *("libpng: left out", "r-ggplot2: left out"),
        ),
    ),
    "another name on PyPI": Row(
        **conda("  - matplotlib-base>=3"), main=["matplotlib>=3"], said=("base>=3: taken from",)
    ),
    "a version that pip cannot say": Row(
        **conda("  - scipy[version='1.15|1.16']"),
        main=["scipy"],
        said=("scipy[version='1.15|1.16']: taken without its version",),
    ),
    "two lines for one package": Row(
        **conda("  - scipy>=1.15", "  - scipy<2"),
        main=["scipy>=1.15,<2"],
        said=("scipy>=1.15: taken with what other lines",),
    ),
    "conda's and pip's line for one package": Row(
        **conda("  - scipy>=1.15", "  - pip:", "    - scipy[all]"),
        main=["scipy[all]>=1.15"],
        said=("scipy>=1.15: taken with what other lines",),
    ),
    "above the marker": Row((("  # Yours:", "  - scipy\n  # Yours:"),), ["scipy"], lock=LOCK),
    "without the marker": Row((("  # Yours:", "  - scipy"),), ["scipy"], lock=LOCK),
    "a limit in the template's lines": Row(
        (("setuptools>=77", "setuptools>=77,<81"),), ["setuptools>=77,<81"]
    ),
    "another Python": Row(
        (("python=3.12.*", "python=3.12.4"),), [], ("python=3.12.4: left out, as the answers",)
    ),
    "a channel and a package of it": Row(
        lambda text: text.replace("channels:\n", "channels:\n  - mine\n") + "  - mine::scipy\n",
        ["scipy"],
        ("channel mine: pip has no channels", "mine::scipy: taken from PyPI, not from its channel"),
        lock=LOCK,
    ),
    "a channel with a token": Row(
        (("channels:\n", "channels:\n  - https://h/t/secret/mine\n"),),
        [],
        ("channel https://h/mine: pip has no channels",),
    ),
    "an address without a name": Row(
        **conda("  - pip:", "    - git+https://h/team/a.git@v1"),
        main=["a @ git+https://h/team/a.git@v1"],
    ),
    "options in the pip part": Row(
        **conda("  - pip: [-e ../a, --pre, -r b.txt, ./c.whl, d]"),
        main=["d"],
        said=("-e ../a: left out", "--pre: left out", "-r b.txt: left", "./c.whl: left"),
    ),
    "two pip parts, quotes and flow": Row(
        **conda("  - pip: [a, 'b>=1']", '  - "scipy"', "  - pip:", "    - c"),
        main=["a", "b>=1", "scipy", "c"],
    ),
    "all on one line": Row(
        lambda _: "{dependencies: [scipy, {pip: [a]}], channels: [conda-forge]}  # why\n",
        ["scipy", "a"],
        ("# why: a comment on no line",),
        lock=LOCK,
    ),
    "a list twice": Row(**conda("dependencies:", "  - scipy"), main=["scipy"]),
    "other items": Row(
        **conda("  - npm: [left-pad]", "  - [x]", "  - pip: {a: b}", "  - scipy"),
        main=["scipy"],
        said=("npm: [left-pad]: no packages", "[x]: no package", "{a: b}: no requ"),
    ),
    "other keys": Row(
        lambda text: f"{text.replace('demo', 'other')}prefix: /x\nvariables: {{A: b}}\nc: d\n",
        [],
        ("name: other", "prefix: left out", "variables: left out", "A", "c: left out"),
    ),
    "comments": Row(
        **conda("  # why", "  - scipy  # until 2", "  # - wandb"),
        main=["scipy"],
        said=("# - wandb: a comment on no line",),
    ),
    "for dev": Row(
        **conda("  - scipy  # x", "  - pip:", "    - mypy", file=DEV), dev=["scipy", "mypy"]
    ),
    "a tool with a version": Row((("- pytest", "- pytest=8"),), dev=["pytest==8.*"], file=DEV),
    "a tool that was removed": Row((("  - ruff\n", ""),), without=("ruff",), file=DEV),
    "a tool for all images": Row(**conda("  - ipython", lock=""), main=["ipython"]),
    "in the file for CUDA": Row(
        lambda _: OF_CUDA + "  - scipy\n  - cuda-nvcc\n",
        ["scipy"],
        ("cuda-nvcc: left out, PyTorch's wheel",),
        file=CUDA,
        lock=LOCK,
    ),
    "what is compiled against PyTorch": Row(
        **conda("  - flash-attn"),
        main=["flash-attn"],
        said=("flash-attn: taken from PyPI by name",),
    ),
    "no YAML": Row(lambda _: "dependencies: [\n", [], ("environment.yml is no YAML in line",)),
    "no mapping": Row(lambda _: "- scipy\n", [], ("environment.yml is no environment file",)),
    "no list of packages": Row(
        lambda _: "dependencies: {a: b}\n", [], ("a: b: no packages of conda",)
    ),
    "an empty file": Row(lambda _: ""),
    "another encoding": Row(
        lambda text: f"# caf\udce9\n{text}  - scipy\n",
        ["scipy"],
        ("# caf\xe9: a comment",),
        lock=LOCK,
    ),
}


@pytest.mark.parametrize("row", FROM_CONDA.values(), ids=FROM_CONDA)
def test_what_conda_has_is_pip_s_or_named(
    row: Row, rendered: dict[str, Files], tmp_path: Path
) -> None:
    files = {**rendered["conda"], CUDA: OF_CUDA}
    name = row.file or MAIN
    files[name] = row.of(files[name])
    if row.lock:
        files["conda.lock"] = row.lock
    check(switch(tmp_path, "pip", files, rendered["pip"]), row, TOOLS)


def test_comments_stay_with_their_lines(rendered: dict[str, Files], tmp_path: Path) -> None:
    edit = listed("# why a", '"a<2",  # until #12', '"b",')
    old = {PIP: Row(edit).of(rendered["pip"][PIP])}
    there = switch(tmp_path, "conda", old, rendered["conda"])
    assert "      # why a\n      - a<2  # until #12\n      - b\n" in there.text
    files = {name: there.project.read(name) for name in (MAIN, DEV)}
    back = switch(tmp_path / "back", "pip", files, rendered["pip"])
    assert '[\n    # why a\n    "a<2",  # until #12\n    "b",\n]' in back.text


def test_what_imports_torch_in_its_build_gets_it(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    files = {**rendered["conda"], MAIN: rendered["conda"][MAIN] + "  - flash-attn\n"}
    done = switch(tmp_path, "pip", files, rendered["pip"])
    uv = tomllib.loads(done.text)["tool"]["uv"]
    assert uv["extra-build-dependencies"] == {"flash-attn": ["torch"]}


def test_what_was_imported_is_known_and_not_imported_again(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    code = tmp_path / "my project/req.txt"
    before = record.Record(["req.txt"], {"req.txt": ""}, {"req.txt": {"pip:main": ["torchvision"]}})
    code.parent.mkdir()
    code.write_text("torchvision\neinops\n")
    before.digests["req.txt"] = record.digest(code)
    edit = Row(listed('"torchvision",', '"einops",')).of(rendered["pip"][PIP])
    old = {PIP: edit, record.FILE: before.text()}
    done = switch(tmp_path, "conda", old, rendered["conda"])
    kept = record.load_record(done.project.folder)
    assert kept.lines["req.txt"] == {"conda:main": ["torchvision"], "pip:main": ["einops"]}
    assert (kept.asked, kept.digests) == (before.asked, before.digests)


# --- there and back -------------------------------------------------------------------------------

# What a user may have, each with a word that nothing else has; the words are there or are said.
PIP_PARTS = {
    "aone": (EMPTY, 'dependencies = [\n    "aone>=1,<3",\n]'),
    "a-mark": ("]\n\n[dependency-groups]", "    # a-mark\n]\n\n[dependency-groups]"),
    "adev": ('    "ruff",\n', '    "adev[x]~=2.1",  # adev-why\n    "ruff",\n'),
    "agroup": (GROUP, f'agroup = ["other"]\n{GROUP}'),
    "aindex": (END, f'\n[[tool.uv.index]]\nname = "aindex"\nurl = "https://h/s"\n{END}'),
    "asource": (END, f"{END}asource = {{ git = 'https://h/asource' }}\n"),
    "asetting": (UV, f'{UV}constraint-dependencies = ["asetting<2"]\n'),
    "<80.1": ('"setuptools>=77"', '"setuptools>=77,<80.1"'),
}
CONDA_PARTS = {
    "aone": ("  # Yours:", "  # Yours:\n  - aone=1.2  # aone-why"),
    "atop": ("  # Yours:", "  - atop\n  # Yours:"),
    "achannel": ("channels:\n", "channels:\n  - achannel\n"),
    "<26.5": ("pip>=25.1", "pip>=25.1,<26.5"),
    "a-mark": ("\ndependencies:", "\n# a-mark\ndependencies:"),
    "avariable": ("\ndependencies:", "\nvariables:\n  avariable: x\ndependencies:"),
    "ffmpeg": ("  # Yours:", "  # Yours:\n  - ffmpeg"),
}
FEW = settings(
    max_examples=20,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)


def edited(text: str, parts: dict[str, tuple[str, str]], chosen: set[str]) -> str:
    for old, new in (parts[word] for word in parts if word in chosen):
        text = text.replace(old, new, 1)
    return text


def lists_of(text: str) -> tuple[list[str], list[str]]:
    values = tomllib.loads(text)
    lists = values["project"]["dependencies"], values["dependency-groups"]["dev"]
    return sorted(lists[0]), sorted(lists[1])


@FEW
@given(chosen=st.sets(st.sampled_from(list(PIP_PARTS))))
def test_pip_to_conda_and_back_is_the_first_or_says_what_differs(
    chosen: set[str], rendered: dict[str, Files], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("there")
    text = edited(rendered["pip"][PIP], PIP_PARTS, chosen)
    chosen = {word for word in chosen if word in text}
    there = switch(folder, "conda", {PIP: text}, rendered["conda"])
    files = {name: there.project.read(name) for name in (MAIN, DEV)}
    back = switch(folder / "back", "pip", files, rendered["pip"])
    told = f"{there.said}\n{back.said}"
    assert {word for word in chosen if word not in back.text and word not in told} == set()
    if not chosen & {"asource", "<80.1"}:
        assert lists_of(back.text) == lists_of(text)
    again = switch(folder / "again", "conda", {PIP: back.text}, rendered["conda"])
    assert again.text == there.text


@FEW
@given(chosen=st.sets(st.sampled_from(list(CONDA_PARTS))))
def test_conda_to_pip_and_back_is_the_first_or_says_what_differs(
    chosen: set[str], rendered: dict[str, Files], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("there")
    main = edited(rendered["conda"][MAIN], CONDA_PARTS, chosen)
    chosen = {word for word in chosen if word in main}
    there = switch(folder, "pip", {**rendered["conda"], MAIN: main}, rendered["pip"])
    back = switch(folder / "back", "conda", {PIP: there.text}, rendered["conda"])
    told = f"{there.said}\n{back.said}"
    assert {word for word in chosen if word not in back.text and word not in told} == set()


# --- where the old file is ------------------------------------------------------------------------


def test_settings_alone_are_named_with_the_commit_that_has_them(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    text = rendered["pip"][PIP].replace(UV, f"{UV}no-build = true\n")
    project.describe("pip")
    project.commit(pyproject_toml=text)
    first = project.git("rev-parse", "--short", "HEAD").strip()
    project.switch(**{name.replace(".", "_"): one for name, one in rendered["conda"].items()})
    said = packages.carry(project.root, "conda", ".", "cd there && ")
    show = f"cd there && git show {first}:./docker-amd64/dependencies/{PIP}"
    assert "  [tool.uv] no-build = true: not possible in an environment file." in said
    assert said[-1] == f"To see the old {PIP}: {show}"
    project.commit()
    assert project.git("show", f"{first}:./docker-amd64/dependencies/{PIP}") == text
    assert packages.carry(project.root, "conda", ".") == []


def test_a_file_that_is_no_toml_is_named_and_changes_nothing(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    project.commit(pyproject_toml='[project]\ndependencies = ["a" "b"]\n')
    project.switch(**{name.replace(".", "_"): one for name, one in rendered["conda"].items()})
    said = packages.carry(project.root, "conda", ".")
    assert said[0] == "Packages were not moved: pyproject.toml is no TOML in line 2."
    assert ":./docker-amd64/dependencies/pyproject.toml" in said[1]
    assert {name: project.read(name) for name in (MAIN, DEV)} == rendered["conda"]


def test_a_new_file_that_is_not_there_is_named(rendered: dict[str, Files], tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.describe("pip")
    project.commit(pyproject_toml=rendered["pip"][PIP])
    project.switch()
    said = packages.carry(project.root, "conda", ".")
    assert said[0].startswith("Packages were not moved: there is no docker-amd64/")
    assert ":./docker-amd64/dependencies/pyproject.toml" in said[1]


def test_an_old_file_of_an_earlier_switch_is_kept(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    text = rendered["pip"][PIP].replace(UV, f"{UV}no-build = true\n")
    done = switch(tmp_path, "conda", {PIP: text, f"{PIP}.old": "first"}, rendered["conda"])
    assert done.project.read(f"{PIP}.old") == "first"
    assert done.project.read(f"{PIP}.old2") == text
    assert "pyproject.toml.old2" in done.said


def test_a_file_of_conda_in_a_project_that_stays_with_pip_is_the_user_s(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    project.describe("pip")
    project.commit(pyproject_toml=rendered["pip"][PIP], environment_yml="dependencies: [a]\n")
    (project.folder / MAIN).unlink()
    assert packages.carry(project.root, "pip", ".") == []
    assert project.read(PIP) == rendered["pip"][PIP]


def test_what_was_added_for_cuda_stays_without_cuda(
    rendered: dict[str, Files], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    project.describe("conda")
    files = {name.replace(".", "_"): text for name, text in rendered["conda"].items()}
    project.commit(**files, **{"environment-cuda_yml": OF_CUDA + "  - nvtop\n  - cuda-nvcc\n"})
    (project.folder / CUDA).unlink()
    said = "\n".join(packages.carry(project.root, "conda", "."))
    assert conda_file.parse(project.read(MAIN)).conda == ["nvtop"]
    assert "cuda-nvcc: left out, this project is for the CPU" in said
    assert ":./docker-amd64/dependencies/environment-cuda.yml" in said


def test_scripts_that_call_conda_are_named(rendered: dict[str, Files], tmp_path: Path) -> None:
    files = {**rendered["conda"], MAIN: rendered["conda"][MAIN] + "  - pip: [a]\n"}
    scripts = {"post-install.sh": "micromamba install x\n", "pre-run.sh": "# conda\ntrue\n"}
    done = switch(tmp_path, "pip", {**files, **scripts}, rendered["pip"])
    assert "dependencies/post-install.sh calls conda" in done.said
    assert "pre-run.sh" not in done.said


def test_a_service_without_conda_takes_packages_over_and_goes_on_to_ignore_channels(
    tmp_path: Path, in_git: InGit, generate: Generate, capfd: pytest.CaptureFixture[str]
) -> None:
    project = generate(tmp_path / "project", hook=True, package_manager="conda", accelerator="cuda")
    docker = project / "docker-amd64"
    file = docker / "dependencies" / MAIN
    file.write_text(file.read_text() + "  - scipy>=1.15  # why\n  - torchvision\n")
    (docker / "channels/linux-64").mkdir()
    (docker / "channels/linux-64/big.conda").write_text("x")
    in_git(project)
    capfd.readouterr()
    update(project, service="ngc")
    told = capfd.readouterr().out
    assert '[\n    "scipy>=1.15",  # why\n]' in (docker / "dependencies" / PIP).read_text()
    assert "torchvision: left out, the base image has its own." in told
    assert "docker-amd64/channels has files of yours, which these answers do not use." in told
    assert "channels" not in git(project, "status", "--porcelain")


# --- the reader of TOML ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '\ufeffa = 1\r\n[b."c.d".e]\nf = "x\\n\\U0001F600\\"" # g\n',
        "[[a.b]]\nc = {d = [1, {e = 'f'}], g.h = true}\n[[a.b]]\n[a.b.i]\nj = 1979-05-27 07:32:00",
        'a = """\nx \\\n   y"""""\nb = \'\'\'\nc\'\'\'\'\n"d" . e = [\n  "f", # g ]\n  # h\n]\n',
    ],
)
def test_toml_is_read_as_a_toml_reader_does(text: str) -> None:
    def texts(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: texts(one) for key, one in value.items()}
        if isinstance(value, list):
            return [texts(one) for one in value]
        return value if isinstance(value, (str, bool)) else str(value)

    expected = texts(tomllib.loads(text.lstrip("\ufeff")))
    assert toml_text.read(text, "x").values == expected


@given(st.text(alphabet="ab\"'[]{}=,.#\\ \n\r\t0-", max_size=30))
def test_any_text_is_toml_or_refused(text: str) -> None:
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        expected = None
    try:
        found = toml_text.read(text, "x").values
    except FileError:
        assert expected is None
    else:
        assert expected is None or found.keys() == expected.keys()


@pytest.mark.parametrize("text", ["[" * 5000, "a = " + "[" * 5000, '"', "a = '''", "a = 1 b = 2"])
def test_what_is_no_toml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(FileError, match="x is no TOML in line 1"):
        toml_text.read(text, "x")


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy 1.26.4", "numpy==1.26.4"),
        ("numpy >=1,<2", "numpy>=1,<2"),
        ("numpy=1.26.4=py312heda63a1_0", "numpy==1.26.4"),
        ("numpy>=1.20.*", "numpy>=1.20"),
        ("numpy=*=*openblas", "numpy"),
        ("numpy[build=x]", "numpy"),
        ("msgpack-python", "msgpack"),
        ("libthing", "libthing"),
    ],
)
def test_a_python_package_goes_over_to_pip_with_its_version(spec: str, line: str) -> None:
    assert conda_specs.judge(spec, Wanted(), python=True).becomes == line
