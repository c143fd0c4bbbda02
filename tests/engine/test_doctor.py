"""The doctor beside a running dev container: what it finds there, and that its commands help."""

from __future__ import annotations

import json

from tests.support.project import Project


def doctor(project: Project, *, may_be_late: str = "") -> dict[str, str]:
    """The command of each finding, by its id; a busy machine is asked up to three times.

    `may_be_late` is the check that may even then have no answer in time.
    """
    for _ in range(3):
        found = json.loads(project.sh("doctor", "--json").stdout)
        if not found["unchecked"]:
            break
    assert {*found["unchecked"]} <= {may_be_late}
    return {one["id"]: one["command"] for one in found["findings"]}


def paste(project: Project, command: str) -> None:
    """Run a printed command as its reader does."""
    done = project.owner.run("bash", "-c", command, cwd=project.folder)
    assert done.returncode == 0, done.stderr


def test_a_healthy_machine_has_no_finding_and_what_breaks_is_mended_by_its_command(
    plain_project: Project,
) -> None:
    plain_project.ok("up")
    assert doctor(plain_project) == {}
    plain_project.ok("root", "mkdir", "/home/user/.vscode-server")
    found = doctor(plain_project)
    assert found.keys() == {"home-of-another"}
    paste(plain_project, found["home-of-another"])
    assert doctor(plain_project) == {}
    plain_project.ok("exec", "rmdir", "/home/user/.vscode-server")


def test_images_of_other_ids_are_found_before_a_file_cannot_be_written(
    plain_project: Project,
) -> None:
    env = plain_project.docker / ".env"
    before = env.read_text()
    plain_project.set_env(USRID="4321")
    found = doctor(plain_project)
    env.write_text(before)
    assert found["image-of-other-ids"].endswith("build dev")
