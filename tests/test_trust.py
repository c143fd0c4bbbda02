"""Trust, three ways: refused, without the hook, and with it; the files are the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import Generate


def copier(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Copier's command line, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "copier", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def content(project: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: path to mode and bytes."""
    return {
        str(path.relative_to(project)): (path.stat().st_mode, path.read_bytes())
        for path in project.rglob("*")
        if path.is_file()
    }


def test_an_untrusted_template_stops_before_it_writes_anything(
    template: Path, tmp_path: Path
) -> None:
    result = copier("copy", "--defaults", template, tmp_path / "project", cwd=tmp_path)
    assert result.returncode == 4
    assert "--trust" in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_untrusted_update_stops_before_it_writes_anything(project: Path) -> None:
    before = content(project)
    result = copier("update", "--defaults", cwd=project)
    assert result.returncode == 4
    assert "--trust" in result.stderr
    assert content(project) == before


def test_untrusted_and_trusted_projects_differ_only_by_what_template_sh_env_adds(
    template: Path, tmp_path: Path
) -> None:
    # In turn at the same place: the name of the Compose project depends on the path.
    project = tmp_path / "project"
    trusted = copier("copy", "--defaults", "--trust", template, project, cwd=tmp_path)
    assert trusted.returncode == 0, trusted.stderr
    with_hook = content(project)
    shutil.rmtree(project)
    untrusted = copier("copy", "--defaults", "--skip-tasks", template, project, cwd=tmp_path)
    assert untrusted.returncode == 0, untrusted.stderr
    without_hook = content(project)

    # The hook makes the folders for data and results too; they are this machine's, like .env.
    added = with_hook.keys() - without_hook.keys()
    trusted_address = "docker-amd64/.env.trusted"  # for whom trust was not given, there is none
    assert added - {"data/.gitignore", "outputs/.gitignore"} == {
        "docker-amd64/.env",
        trusted_address,
    }
    assert with_hook.pop(trusted_address)[1] == f"{template}\n".encode()
    assert without_hook == {path: with_hook[path] for path in without_hook}
    # What the person is told to run then does all that the hook did.
    assert "./docker-amd64/template.sh env" in untrusted.stderr
    filled = subprocess.run(
        [project / "docker-amd64/template.sh", "env"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert filled.returncode == 0, filled.stderr
    assert content(project) == with_hook


def test_the_env_of_a_new_project_is_for_its_owners_eyes_only(
    generate: Generate, tmp_path: Path
) -> None:
    project = generate(tmp_path / "project", hook=True)
    assert (project / "docker-amd64/.env").stat().st_mode & 0o777 == 0o600


def test_generating_with_the_hook_leaves_the_template_as_it_was(
    template: Path, tmp_path: Path
) -> None:
    # Copier may share that folder between projects: no compiled file may appear there.
    folder = tmp_path / "hearth"
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns(".git"))
    before = content(folder)
    result = copier("copy", "--defaults", "--trust", folder, tmp_path / "project", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert content(folder) == before
