"""After a copy or an update, a project's own packages are where its package manager reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from copier import run_copy, run_update
from hypothesis import given
from hypothesis import strategies as st

import conda_file
from hooks.generate import old_files, packages, toml_text
from tests.support.process import run
from tests.support.switching import Project

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PIP = """\
[project]
name = "demo-dependencies"
requires-python = "==3.12.*"
version = "0"
dependencies = []

[dependency-groups]
dev = [
    "ipython",
    "pytest",
    "ruff",
]
container = ["pip>=25.1", "setuptools>=77"]
torch = ["numpy", "torch==2.13.0"]

[tool.uv]
package = false
default-groups = []
environments = ["sys_platform == 'linux' and platform_machine == 'x86_64'"]
"""
MAIN = """\
name: demo
channels:
  - conda-forge
  - nodefaults
dependencies:
  # The template owns these lines: ./template.sh update changes them after your answers.
  - python=3.12.*
  - pytorch=2.13.0
  # Yours:
"""
DEV = (
    "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - ipython\n  - pytest\n  - ruff\n"
)
LOCK = (
    "@EXPLICIT\n"
    "https://conda.anaconda.org/conda-forge/linux-64/scipy-1.15.0-py312h0_0.conda#sha256:0\n"
    "https://conda.anaconda.org/conda-forge/linux-64/ffmpeg-7.1-gpl_h0.conda#sha256:0\n"
)
YOURS = PIP.replace(
    "dependencies = []", 'dependencies = [\n    "rich>=13",\n    "pandas", # mine\n]'
).replace('"pytest",', '"pytest>=8",\n    "mypy",')


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def switch_to_conda(project: Project) -> None:
    project.switch(environment_yml=MAIN, **{"environment-dev_yml": DEV})


# --- pip to conda ---------------------------------------------------------------------------------


def test_the_lines_of_pyproject_go_into_the_environment_files(project: Project) -> None:
    project.commit(pyproject_toml=YOURS, uv_lock="x")
    switch_to_conda(project)
    said = packages.carry(project.root, "conda", ".")
    assert project.read("environment.yml") == MAIN + (
        "  - pip:\n      - rich>=13\n      - pandas  # mine\n"
    )
    assert project.read("environment-dev.yml") == DEV.replace("- pytest", "- pytest>=8") + (
        "  - pip:\n      - mypy\n"
    )
    assert project.names() == {"environment.yml", "environment-dev.yml"}
    assert len(said) == 1
    assert "rich>=13, pandas, pytest>=8, mypy" in said[0]


def test_a_second_run_changes_nothing_and_says_nothing(project: Project) -> None:
    project.commit(pyproject_toml=YOURS)
    switch_to_conda(project)
    packages.carry(project.root, "conda", ".")
    after = project.read("environment.yml")
    assert packages.carry(project.root, "conda", ".") == []
    assert project.read("environment.yml") == after
    project.commit()
    project.write(environment_yml=MAIN)  # the person takes them out again
    assert packages.carry(project.root, "conda", ".") == []
    assert project.read("environment.yml") == MAIN


def test_a_file_that_a_copy_left_behind_is_read_and_removed(project: Project) -> None:
    project.write(pyproject_toml=YOURS, uv_lock="x", environment_yml=MAIN)
    packages.carry(project.root, "conda", ".")
    assert conda_file.parse(project.read("environment.yml")).pip == ["rich>=13", "pandas"]
    assert "pyproject.toml" not in project.names()


def test_what_cannot_be_carried_over_is_named_and_kept(project: Project) -> None:
    text = (
        YOURS.replace('"rich>=13"', '"torchvision==0.20"') + 'override-dependencies = ["numpy<2"]\n'
    )
    project.write(pyproject_toml=text, environment_yml=MAIN)
    said = "\n".join(packages.carry(project.root, "conda", "."))
    assert "torchvision==0.20: left to conda" in said
    assert '[tool.uv] override-dependencies = ["numpy<2"]: not possible in an env' in said
    assert "pyproject.toml.old" in said
    assert project.read("pyproject.toml.old") == text
    assert conda_file.parse(project.read("environment.yml")).conda == ["torchvision"]


def test_an_address_that_uv_keeps_apart_goes_with_its_package(project: Project) -> None:
    project.commit(
        pyproject_toml=YOURS
        + '[tool.uv.sources]\nrich = { git = "https://github.com/a/rich", rev = "v13" }\n'
        + 'pandas = { index = "mine" }\n'
    )
    switch_to_conda(project)
    said = "\n".join(packages.carry(project.root, "conda", "."))
    assert conda_file.parse(project.read("environment.yml")).pip == [
        "rich @ git+https://github.com/a/rich@v13",
        "pandas",
    ]
    assert "[tool.uv.sources] pandas" in said
    commit = project.git("rev-parse", "--short", "HEAD").strip()
    assert f"git show {commit}:./docker-amd64/dependencies/pyproject.toml" in said


def test_an_untouched_project_switches_without_a_word(project: Project) -> None:
    project.commit(pyproject_toml=PIP, uv_lock="x")
    switch_to_conda(project)
    assert packages.carry(project.root, "conda", ".") == []
    assert project.read("environment.yml") == MAIN
    assert "uv.lock" not in project.names()


# --- conda to pip ---------------------------------------------------------------------------------


def test_the_lines_of_the_environment_files_go_into_pyproject(project: Project) -> None:
    main = MAIN + "  - scipy=1.15\n  - pip:\n      - rich>=13\n"
    project.commit(
        environment_yml=main,
        conda_lock=LOCK,
        **{"environment-dev_yml": DEV + "  - pip:\n      - mypy\n"},
    )
    project.switch(pyproject_toml=PIP)
    said = packages.carry(project.root, "pip", ".")
    lists = tomllib.loads(project.read("pyproject.toml"))
    assert lists["project"]["dependencies"] == ["scipy==1.15.*", "rich>=13"]
    assert lists["dependency-groups"]["dev"] == ["ipython", "pytest", "ruff", "mypy"]
    assert project.names() == {"pyproject.toml"}
    assert len(said) == 1
    assert packages.carry(project.root, "pip", ".") == []


def test_what_is_no_python_package_is_named_with_where_to_find_it(project: Project) -> None:
    project.write(environment_yml=MAIN + "  - ffmpeg\n", conda_lock=LOCK, pyproject_toml=PIP)
    said = "\n".join(packages.carry(project.root, "pip", "."))
    assert "ffmpeg: left out, as it is no Python package" in said
    assert "  - ffmpeg\n" in project.read("environment.yml.old")
    assert project.read("pyproject.toml") == PIP


def test_a_switch_there_and_back_keeps_every_line(project: Project) -> None:
    project.commit(pyproject_toml=YOURS)
    switch_to_conda(project)
    packages.carry(project.root, "conda", ".")
    project.commit()
    project.switch(pyproject_toml=PIP)
    packages.carry(project.root, "pip", ".")
    lists = tomllib.loads(project.read("pyproject.toml"))
    assert lists["project"]["dependencies"] == ["rich>=13", "pandas"]
    assert set(lists["dependency-groups"]["dev"]) == {"ipython", "pytest>=8", "ruff", "mypy"}


# --- a new project of existing code ---------------------------------------------------------------


def test_the_environment_of_the_code_is_taken_in_once(project: Project) -> None:
    (project.root / "code").mkdir()
    theirs = project.root / "code/environment.yml"
    theirs.write_text("channels: [defaults]\ndependencies: [numpy=1.26=py_0, {pip: [rich]}]\n")
    project.write(environment_yml=MAIN)
    said = packages.carry(project.root, "conda", "code")
    assert said[0].startswith("Imported the packages of code/environment.yml into docker-amd64/dep")
    assert any("defaults" in line for line in said)
    after = project.read("environment.yml")
    assert conda_file.parse(after).conda == ["numpy=1.26"]
    assert packages.carry(project.root, "conda", "code") == []
    assert project.read("environment.yml") == after
    assert theirs.exists()


@pytest.mark.parametrize("name", ["environment.yaml", "env.yml", "conda.yaml", "requirements.txt"])
def test_packages_may_be_listed_in_another_file(project: Project, name: str) -> None:
    text = "rich\n" if name.endswith("txt") else "dependencies: [{pip: [rich]}]\n"
    (project.root / name).write_text(text)
    project.write(environment_yml=MAIN)
    said = packages.carry(project.root, "conda", ".")
    target = "docker-amd64/dependencies/environment.yml"
    assert said == [f"Imported the packages of {name} into {target}."]
    assert conda_file.parse(project.read("environment.yml")).pip == ["rich"]


def test_a_requirements_file_beside_an_environment_is_taken_too(project: Project) -> None:
    (project.root / "environment.yml").write_text("dependencies: [python=3.12, pip, numpy]\n")
    (project.root / "requirements.txt").write_text("numpy\neinops\n")
    project.write(environment_yml=MAIN)
    said = packages.carry(project.root, "conda", ".")
    assert said[0].startswith("Imported the packages of environment.yml, requirements.txt into")
    meant = conda_file.parse(project.read("environment.yml"))
    assert (meant.conda, meant.pip) == (["numpy"], ["einops"])


def test_a_lock_of_another_program_is_named(project: Project) -> None:
    (project.root / "conda-lock.yml").write_text("version: 1\npackage: []\n")
    project.write(environment_yml=MAIN)
    said = packages.carry(project.root, "conda", ".")
    assert len(said) == 1
    assert "conda-lock.yml: not read" in said[0]


def test_a_project_that_has_a_lock_is_not_filled_again(project: Project) -> None:
    (project.root / "environment.yml").write_text("dependencies: [numpy]\n")
    project.write(environment_yml=MAIN, conda_lock=LOCK)
    assert packages.carry(project.root, "conda", ".") == []
    assert project.read("environment.yml") == MAIN


def test_many_notes_do_not_fill_the_screen(project: Project) -> None:
    lines = "".join(f"  - pip: ['torch=={n}']\n" for n in range(50))
    (project.root / "environment.yml").write_text(f"dependencies:\n{lines}")
    project.write(environment_yml=MAIN)
    said = packages.carry(project.root, "conda", ".")
    assert len(said) <= packages.MOST_NOTES + 1


@pytest.mark.parametrize("text", ["", "a: [", "- x", "\t", "dependencies: {a: b}"])
def test_a_broken_file_is_one_line_and_changes_nothing(project: Project, text: str) -> None:
    (project.root / "environment.yml").write_text(text)
    project.write(environment_yml=MAIN)
    said = packages.carry(project.root, "conda", ".")
    assert len(said) == 1
    assert said[0].startswith("Packages were not moved: environment.yml")
    assert project.read("environment.yml") == MAIN


def test_a_project_without_git_or_files_has_nothing_to_carry(tmp_path: Path) -> None:
    assert packages.carry(tmp_path, "conda", ".") == []
    assert packages.carry(tmp_path, "pip", ".") == []


# --- Copier, and TOML -----------------------------------------------------------------------------


def test_copier_deletes_what_it_does_not_render_any_more_and_the_hook_still_has_it(
    tmp_path: Path,
) -> None:
    template = Project(tmp_path / "template").root
    rendered = template / "template" / packages.DEPENDENCIES
    rendered.mkdir(parents=True)
    (template / "copier.yml").write_text(
        "_subdirectory: template\nmanager: {type: str, default: pip}\n"
    )
    (rendered / "{% if manager == 'pip' %}pyproject.toml{% endif %}.jinja").write_text(PIP)
    (rendered / "{% if manager == 'conda' %}environment.yml{% endif %}.jinja").write_text(MAIN)
    (template / "template/{{ _copier_conf.answers_file }}.jinja").write_text(
        "{{ _copier_answers|to_nice_yaml }}"
    )
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["add", "-A"], ["commit", "-qm", "x"], ["tag", "v1.0"]):
        assert run(*git, *command, cwd=template).returncode == 0
    project = Project(tmp_path)
    run_copy(str(template), project.root, defaults=True, quiet=True)
    project.commit(pyproject_toml=YOURS, uv_lock="x")
    run_update(project.root, data={"manager": "conda"}, defaults=True, overwrite=True, quiet=True)
    assert project.names() == {"environment.yml", "uv.lock"}
    packages.carry(project.root, "conda", ".")
    assert project.names() == {"environment.yml", "environment-dev.yml"}
    assert conda_file.parse(project.read("environment.yml")).pip == ["rich>=13", "pandas"]


STRINGS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), max_size=4
)


@given(STRINGS, st.sampled_from(["\n", " ", '\n    # a ] comment, "x\n', "\r\n"]))
def test_lists_of_toml_are_read_as_a_toml_reader_does(lines: list[str], gap: str) -> None:
    listed = "".join(f"{gap}{json.dumps(line, ensure_ascii=False)}," for line in lines)
    text = PIP.replace("dependencies = []", f"dependencies = [{listed}{gap if lines else ''}\n]")
    read = [line.text for line in old_files.read_pyproject(text).main]
    assert read == tomllib.loads(text)["project"]["dependencies"]


def added(text: str, *lines: str) -> str:
    return toml_text.edit_list(text, ("project", "dependencies"), map(toml_text.Line, lines))


@pytest.mark.parametrize(
    "before",
    ["[]", "[\n]", '["a"]', '[\n    "a"\n]', '[\n    "a", # why, ]\n    # end\n]', "[ 'a' # x\n]"],
)
def test_lines_are_added_to_a_list_of_toml_in_every_shape(before: str) -> None:
    text = PIP.replace("dependencies = []", f"dependencies = {before}")
    after = added(text, "b>=1", "c[x] ; m == 'q'")
    had = tomllib.loads(text)["project"]["dependencies"]
    assert tomllib.loads(after)["project"]["dependencies"] == [*had, "b>=1", "c[x] ; m == 'q'"]
    again = added(after, "b>=1")
    assert again == after
    replaced = added(after, "A==2")
    assert ("A==2" in tomllib.loads(replaced)["project"]["dependencies"]) is True
    assert replaced.partition("[dependency-groups]")[2] == text.partition("[dependency-groups]")[2]
