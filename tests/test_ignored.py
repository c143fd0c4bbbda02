"""Files of the template that the user's own rules hide from git, and the lines that keep them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hooks.generate import ignored
from tests.conftest import ROOT, Generate
from tests.support.git import git
from tests.support.process import run

TEMPLATE = ROOT / "template"
ANSWERS = ".copier-answers.yml"


def said(project: Path, shown: str = ".") -> str:
    """What the hook says of a project; "" if nothing is ignored."""
    found = ignored.lines(project, TEMPLATE, ANSWERS, shown)
    assert len(found) <= 1
    return "".join(found)


def add_lines(line: str, folder: Path) -> None:
    """Do what the hook's line says."""
    command = line.partition("To keep them: ")[2]
    assert command, line
    result = run("bash", "-c", command, cwd=folder)
    assert result.returncode == 0, result.stderr


def hidden(project: Path) -> list[str]:
    """The files of the template that `git add --all` does not take."""
    git(project, "add", "--all")
    taken = set(git(project, "ls-files", "-z").split("\0"))
    names = ignored.template_files(project, TEMPLATE, ANSWERS)
    return [name for name in names if (project / name).exists() and name not in taken]


@pytest.fixture
def existing(generate: Generate, tmp_path: Path) -> Path:
    """Existing code in git, with the template's files and an .env beside it."""
    folder = generate(tmp_path / "project", project_kind="existing", extras=["ci", "devcontainer"])
    (folder / "docker-amd64/.env").write_text("A=1\n")
    git(folder, "init", "--quiet")
    return folder


RULES = {
    "all texts": "*.txt",
    "no end of line": "*.lock\n*.txt",
    "a folder": "docker-amd64/",
    "a folder and texts": "docker-amd64\n*.txt\n",
    "a folder's content": "/docker-amd64/*",
    "a folder below": "host/\n",
    "hidden files": ".*\n",
    "everything but": "*\n!/src/\n!.gitignore\n",
    "two levels": "/docker-amd64/*\n!/docker-amd64/host/\n/docker-amd64/host/*\n",
    "one file": "docker-amd64/compose.yaml\n",
    "a few files": "Dockerfile*\nentrypoint.sh\nproject.json\n",
    "the answers": ".copier*\n",
    "a lock": "*.lock\n",
    "crates and texts": "*.json\n*.y*ml\n*.txt\n*.ini\n",
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_the_lines_keep_what_a_rule_of_the_project_ignores(existing: Path, rules: str) -> None:
    (existing / ".gitignore").write_text(rules)
    line = said(existing)
    assert line.startswith("git ignores ")
    assert len(line) < 700
    add_lines(line, existing)
    assert hidden(existing) == []
    assert said(existing) == ""
    assert "docker-amd64/.env\n" not in git(existing, "ls-files")
    assert (existing / ".gitignore").read_text().startswith(rules)


def test_nothing_is_said_of_what_the_template_ignores_itself(
    existing: Path, generate: Generate, tmp_path: Path
) -> None:
    assert said(existing) == ""
    new = generate(tmp_path / "new", extras=["ci", "data", "ssh"], package_manager="conda")
    assert said(new) == ""  # no repository yet
    git(new, "init", "--quiet")
    assert said(new) == ""


def test_rules_elsewhere_are_taken_back_too(
    existing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    everywhere = tmp_path / "my rules/.gitignore"
    everywhere.parent.mkdir()
    everywhere.write_text("*.txt\n.*\n")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.excludesFile")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(everywhere))
    (existing / ".git/info/exclude").write_text("docker-amd64/host\n")
    (existing / "docker-amd64/image/.gitignore").write_text("*\n")
    line = said(existing)
    assert "docker-amd64/image/.gitignore" in line
    add_lines(line, existing)
    assert hidden(existing) == []


def test_a_folder_of_a_repository_is_seen_from_the_users_shell(
    generate: Generate, tmp_path: Path
) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("*.txt\n/code/my project/docker-amd64/host/\n")
    project = generate(root / "code/my project", project_kind="existing")
    add_lines(said(project, "code/my project"), root)
    assert hidden(project) == []


def test_a_folder_that_its_repository_ignores_may_have_its_own(
    generate: Generate, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("*\n")
    project = generate(tmp_path / "project", project_kind="existing")
    line = said(project, "project")
    assert line.startswith("The repository around this folder ignores it (* in .gitignore).")
    command = line.partition("own: ")[2]
    assert run("bash", "-c", command, cwd=tmp_path).returncode == 0
    assert hidden(project) == []


def test_a_new_package_whose_gitignore_was_kept_is_looked_at_as_a_whole(
    generate: Generate, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / ".gitignore").write_text("src/\n*.toml\n")
    generate(folder, project_kind="new")
    line = said(folder)
    assert line.startswith("git ignores src/, docker-amd64/dependencies/project/pyproject.toml, ")
    git(folder, "init", "--quiet")
    add_lines(line, folder)
    assert hidden(folder) == []


def test_what_git_has_already_is_not_named(existing: Path) -> None:
    git(existing, "add", "--all")
    (existing / ".gitignore").write_text("docker-amd64/*.yaml\n*.sh\n")
    git(existing, "rm", "--quiet", "--cached", "docker-amd64/entrypoint.sh")
    assert said(existing).startswith("git ignores docker-amd64/entrypoint.sh")


def test_without_git_nothing_is_said(existing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (existing / ".gitignore").write_text("*\n")
    monkeypatch.setenv("PATH", "/nowhere")
    assert said(existing) == ""
