"""An editor that works in dev containers, by the CLI that VS Code and others use."""

from __future__ import annotations

import json
import shutil
import subprocess

from tests.support.project import Project

CLI = "devcontainer"


def editor_problem() -> str | None:
    """Why no dev container can be opened here, in one sentence; None when one can."""
    if shutil.which(CLI):
        return None
    return "there is no Dev Containers CLI: .ci/engine.sh editor"


def devcontainer(project: Project, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the CLI, which keeps files of its own in the temporary folder."""
    owner = project.owner
    call = (CLI, verb, "--workspace-folder", ".", *words)
    return owner.run(*call, cwd=project.folder, env={"TMPDIR": str(owner.home)})


def opened(project: Project, *options: str) -> str:
    """Open the project as an editor does; the id of the container."""
    done = devcontainer(project, "up", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["outcome"] == "success"
    return str(answer["containerId"])


def inside(project: Project, *words: str) -> str:
    """What a program says that the editor runs in the container."""
    done = devcontainer(project, "exec", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
