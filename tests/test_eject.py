"""Leaving the template: said what may go, done on consent, and the project works on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conftest import Generate, InGit
from tests.support.git import git
from tests.test_update_verb import command_in, state, template_sh

ANSWERS = ".copier-answers.yml"


def test_who_leaves_is_told_what_may_go_and_keeps_everything_but_the_answers(
    project: Path,
) -> None:
    before = state(project)
    asked = template_sh(project, "eject")
    assert asked.returncode == 1
    assert state(project) == before
    for name in ("template.sh", "host/"):
        assert name in asked.stdout
    assert command_in(asked.stderr).endswith("template.sh eject -y")

    done = template_sh(project, "eject", "-y")
    assert done.returncode == 0, done.stderr
    assert state(project) == {name: text for name, text in before.items() if name != ANSWERS}
    for verb in ("update", "eject"):
        after = template_sh(project, verb)
        assert after.returncode == 1
        assert "the project has left its template" in after.stderr
    git(project, "checkout", "HEAD", "--", ANSWERS)  # as it was told
    assert state(project) == before


def test_what_others_need_of_a_project_without_a_template_is_said(
    generate: Generate, tmp_path: Path, in_git: InGit
) -> None:
    folder = generate(
        tmp_path / "project", hook=True, extras=["ci", "devcontainer"], accelerator="cuda"
    )
    in_git(folder)
    (folder / "docker-amd64/compose.cdi.yaml").write_text("services: {}\n")
    asked = template_sh(folder, "eject").stdout
    assert "git add --force compose.cdi.yaml" in asked
    assert "delete these too:\n  .github/workflows/image.yml .github/renovate.json" in asked
    assert "Editors call template.sh by .devcontainer/." in asked
    (command,) = re.findall(r"(?m)^ +(sed .*>\.env),", asked)
    own = folder / "docker-amd64/.env"
    own.unlink()
    subprocess.run(["bash", "-c", command], cwd=own.parent, check=True)
    assert re.search(r"(?m)^CCA='\d", own.read_text())


def test_what_eject_does_not_know_is_refused(project: Path) -> None:
    refused = template_sh(project, "eject", "--all")
    assert refused.returncode == 1
    assert "eject does not know --all." in refused.stderr
