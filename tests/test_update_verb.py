"""`template.sh update`, for who forgot Copier: nothing is lost, and all can be taken back."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from copier import run_copy, run_update

from hooks.update.copiers import OLDEST, copier_version
from hooks.update.snapshot import take
from host.checkout import HOST_FILES, Checkout
from host.command import find_verb, parser_of
from host.project import START_FILES, StopError
from host.update import memory
from host.versions import address
from tests.conftest import ROOT, SNAPSHOT_TAG, InGit
from tests.support.git import git
from tests.support.serving import listening
from tests.support.updates import NEWER_TAG, conflicts, release, replace
from tests.support.wheels import make_wheel

SCRIPT = "docker-amd64/template.sh"
OWN_PROGRAMS = Path(sys.executable).parent  # here is a Copier
NEWS = """# Changelog

## [1000.0.0] - 2027-01-01

Sees further.

### Added

- A telescope.

## [999.0.0] - 2026-12-01

- What the project has already.

[1000.0.0]: https://example.com/v1000.0.0
"""


def machine(**more: str) -> dict[str, str]:
    """The environment of a person who has Copier."""
    return {**os.environ, "PATH": f"{OWN_PROGRAMS}:{os.environ['PATH']}"} | more


def template_sh(
    project: Path, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(project / SCRIPT), *words],
        cwd=cwd or project,
        env=dict(env or machine()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def state(project: Path) -> dict[str, bytes]:
    """All that a person sees of a project, also what git does not."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(project).parts
    }


def command_in(text: str) -> str:
    """The last command that a message offers."""
    return str(re.findall(r"(?m)^  Run: (.*)$", text)[-1])


def undo_in(text: str) -> str:
    """The command that an update offers before it starts."""
    return str(re.findall(r"(?m)^  (sh .*undo'?)$", text)[-1])


def read_offer(process: subprocess.Popen[str]) -> str:
    """What a running update says up to the command that takes it back."""
    said = ""
    while "undo" not in said:
        assert process.stdout
        line = process.stdout.readline()
        assert line, f"it ended with {said!r}"
        said += line
    return said


@pytest.fixture
def news(own_template: Path) -> None:
    """A next version of the template: in its script, which runs the update, and in an image."""
    docker = own_template / "template/docker-amd64"
    replace(docker / "template.sh", "set -eu\n", "# News of the script.\nset -eu\n")
    replace(docker / "dependencies/apt-dev.txt.jinja", "htop\n", "htop\nnvtop\n")
    replace(docker / ".env.example.jinja", "# Shared memory", "# News.\nNEW_KEY=7\n\n# Shared")
    (own_template / "CHANGELOG.md").write_text(NEWS)
    release(own_template)


@pytest.mark.usefixtures("news")
def test_an_update_tells_the_news_says_what_to_build_and_can_be_taken_back(project: Path) -> None:
    before = state(project)
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    assert "## [1000.0.0] - 2027-01-01\n\nSees further." in done.stdout
    assert "What the project has already" not in done.stdout
    assert "https://example.com" not in done.stdout
    assert f"From {SNAPSHOT_TAG} to {NEWER_TAG}." in done.stdout
    assert "The images have to be rebuilt: dependencies/apt-dev.txt changed." in done.stdout
    assert "# News of the script." in (project / SCRIPT).read_text()
    assert os.access(project / SCRIPT, os.X_OK)
    assert "NEW_KEY=7\n" in (project / "docker-amd64/.env").read_text()
    after = state(project)

    undone = template_sh(project, "update", "--undo")
    assert undone.returncode == 0, undone.stderr
    assert state(project) == before
    git(project, "stash", "apply")
    assert (
        state(project)["docker-amd64/dependencies/apt-dev.txt"]
        == (after["docker-amd64/dependencies/apt-dev.txt"])
    )


@pytest.mark.usefixtures("news")
def test_looking_changes_nothing(project: Path) -> None:
    before = state(project)
    (project / "notes").write_text("not committed, and no matter\n")
    done = template_sh(project, "update", "--check")
    assert "- A telescope." in done.stdout
    (project / "notes").unlink()
    assert state(project) == before


def test_the_newest_version_is_said_to_be_it(project: Path) -> None:
    done = template_sh(project, "update")
    assert done.returncode == 0
    assert done.stdout.endswith(f"The project has the newest version already: {SNAPSHOT_TAG}.\n")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("trouble", ["no git", "no commit", "edited", "untracked"])
def test_what_is_not_committed_is_refused_with_the_command_that_commits_it(
    project: Path, trouble: str
) -> None:
    if trouble in ("no git", "no commit"):
        shutil.rmtree(project / ".git")
    if trouble == "no commit":
        git(project, "init", "--quiet")
    elif trouble == "edited":
        (project / "README.md").write_text("mine\n")
    elif trouble == "untracked":
        (project / "my notes").write_text("mine\n")
    before = state(project)
    refused = template_sh(project, "update")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert state(project) == before
    subprocess.run(["bash", "-c", command_in(refused.stderr)], check=True, capture_output=True)
    if trouble == "edited":
        assert template_sh(project, "update").returncode == 0
    assert state(project)["README.md"] == before["README.md"]


def test_a_conflict_ends_with_the_files_and_the_commands_that_finish_it(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    scripts = ("docker-amd64/entrypoint.sh", "docker-amd64/image/add-user.sh")
    for name in scripts:
        line = (project / name).read_text().splitlines()[1]
        replace(project / name, line, "# mine")
        source = own_template / "template" / name
        source = source if source.exists() else source.with_name(f"{source.name}.jinja")
        replace(source, line, "# news")
    (own_template / "template/docker-amd64/new.txt").write_text("new with the update\n")
    in_git(project)
    release(own_template)
    done = template_sh(project, "update")
    assert done.returncode == 1
    names = ", ".join(scripts)
    assert f"2 files have lines that both you and the template changed: {names}." in done.stdout
    again = template_sh(project, "update")
    assert f"{names} have conflicts: first solve them" in again.stderr
    for name in scripts:
        text = (project / name).read_text()
        assert "<<<<<<<" in text
        (project / name).write_text(re.sub("(?m)^(<|=|>){7}.*\n", "", text))
    (finish,) = re.findall(r"Then: (git add .*)\. Then: ", done.stdout)
    subprocess.run(["bash", "-c", finish], cwd=project, check=True)
    assert git(project, "status", "--porcelain") == ""
    assert conflicts(project) == ""


@pytest.mark.usefixtures("news")
def test_no_program_that_a_container_names_in_git_s_settings_runs_in_an_update(
    project: Path, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    evil.write_text(f'#!/bin/sh\ntouch "{tmp_path}/ran"\n')
    evil.chmod(0o755)
    git(project, "config", "core.fsmonitor", str(evil))
    for hook in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction"):
        (project / ".git/hooks").mkdir(exist_ok=True)
        shutil.copy(evil, project / ".git/hooks" / hook)
    assert template_sh(project, "update").returncode == 0
    assert not (tmp_path / "ran").exists()


def test_a_template_that_fails_leaves_the_project_as_it_was(
    own_template: Path, project: Path
) -> None:
    readme = own_template / "template/docker-amd64/README.md.jinja"
    readme.write_text(readme.read_text() + "{{ nothing.of }}\n")
    release(own_template)
    before = state(project)
    failed = template_sh(project, "update")
    assert failed.returncode != 0
    assert (
        "The template cannot be rendered (UndefinedError: 'nothing' is undefined)." in failed.stderr
    )
    assert "Traceback" not in failed.stderr
    assert state(project) == before
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.usefixtures("news")
def test_an_update_that_is_killed_at_any_moment_can_be_taken_back_and_done_again(
    project: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = state(project)
    chance = random.Random(6)
    started = time.monotonic()
    assert template_sh(project, "update").returncode == 0
    whole = time.monotonic() - started
    env, after = "docker-amd64/.env", state(project)
    assert after[env] != before[env]
    assert template_sh(project, "update", "--undo").returncode == 0
    # The next command removes what a killed one leaves of its turn.
    aside = ("docker-amd64/.env.undone", "docker-amd64/.env.turn")
    for _ in range(3):
        with subprocess.Popen(
            [str(project / SCRIPT), "update", "-y"],
            cwd=project,
            env=machine(TMPDIR=str(temporary)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as process:
            said = read_offer(process)  # from here on something may have been written
            time.sleep(chance.uniform(0, whole))
            os.killpg(process.pid, signal.SIGKILL)
        assert (project / env).read_bytes() in (before[env], after[env])
        subprocess.run(["bash", "-c", undo_in(said)], check=True, capture_output=True)
        assert {k: v for k, v in state(project).items() if k not in aside} == {
            k: v for k, v in before.items() if k not in aside
        }
        assert git(project, "status", "--porcelain") == ""
        assert not list(temporary.iterdir())
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    assert "# News of the script." in (project / SCRIPT).read_text()


@pytest.mark.usefixtures("news")
def test_after_an_interruption_the_next_update_says_how_to_go_on(project: Path) -> None:
    (folder,) = [Path(git(project, "rev-parse", "--absolute-git-dir").strip())]
    assert template_sh(project, "update").returncode == 0
    (program,) = folder.glob("hearth-update/*/undo")
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (program.parent / "running").write_text(str(gone.pid))
    refused = template_sh(project, "update")
    assert "The last update was interrupted." in refused.stderr
    subprocess.run(["bash", "-c", command_in(refused.stderr)], check=True, capture_output=True)
    assert template_sh(project, "update").returncode == 0


@pytest.mark.usefixtures("news")
def test_an_update_that_is_told_to_end_takes_back_what_it_has_done(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    log, scratch = tmp_path / "log", tmp_path / "scratch"
    scratch.mkdir()
    main = 'if __name__ == "__main__":\n'
    works = f"    import time\n    Path({str(log)!r}).touch()\n    time.sleep(60)\n"
    replace(own_template / "hooks/post_generate.py", main, main + works)
    release(own_template, "v1001.0.0")
    before = state(project)
    command = [str(project / SCRIPT), "update", "-y"]
    env = machine(TMPDIR=str(scratch))
    null = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=project, env=env, stdout=null, stderr=null) as process:
        while not log.exists():
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=240) == 128 + signal.SIGTERM
    # Who does the update has ended too, and the scratch folder with it.
    assert [*scratch.iterdir()] == []
    assert "runs already" not in template_sh(project, "update", "--check").stderr
    assert state(project) == before


@pytest.mark.usefixtures("news")
def test_while_an_update_still_works_nothing_is_taken_back(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    log, enough = tmp_path / "log", tmp_path / "enough"
    # Somebody, or the kernel for want of memory, has killed the process that started the update.
    hook = own_template / "hooks/post_generate.py"
    works = f"""    import time
    Path({str(log)!r}).touch()
    while not Path({str(enough)!r}).exists():
        time.sleep(0.05)
"""
    main = 'if __name__ == "__main__":\n'
    replace(hook, main, main + works)
    release(own_template, "v1001.0.0")
    with subprocess.Popen(
        [str(project / SCRIPT), "update", "-y"],
        cwd=project,
        env=machine(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        command = undo_in(read_offer(process))
        while not log.exists():
            time.sleep(0.05)
        process.kill()
    # Where COLUMNS is exported, `ps` cuts what it says.
    take_back = ("env", "COLUMNS=80", "bash", "-c", command)
    refused = subprocess.run(take_back, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "The update still works on this project" in refused.stderr
    for words in (("update",), ("update", "--undo")):
        assert "An update of this project runs already." in template_sh(project, *words).stderr
    enough.touch()
    while template_sh(project, "update", "--undo").returncode:
        time.sleep(0.05)
    assert git(project, "status", "--porcelain") == ""
    assert template_sh(project, "update").returncode == 0


@pytest.mark.usefixtures("news")
def test_what_was_written_into_env_since_the_update_is_kept_when_it_is_taken_back(
    project: Path, tmp_path: Path
) -> None:
    env, elsewhere = project / "docker-amd64/.env", tmp_path / "my.env"
    shutil.move(env, elsewhere)
    env.symlink_to(elsewhere)
    before = env.read_text()
    assert template_sh(project, "update").returncode == 0
    replace(elsewhere, "NEW_KEY=7", "NEW_KEY=secret")
    undone = template_sh(project, "update", "--undo")
    assert "The .env that you had with it is .env.undone now." in undone.stdout
    assert env.is_symlink()
    assert elsewhere.read_text() == before
    kept = project / "docker-amd64/.env.undone"
    assert "NEW_KEY=secret\n" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert git(project, "status", "--porcelain") == ""


def test_keys_of_the_team_and_of_the_template_in_one_place_are_no_conflict(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    place = "# Shared memory"
    replace(project / "docker-amd64/.env.example", place, f"MY_KEY=1\n\n{place}")
    in_git(project)
    template = own_template / "template/docker-amd64/.env.example.jinja"
    replace(template, place, f"# News.\nNEW_KEY=7\n\n{place}")
    release(own_template)
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stdout
    env = (project / "docker-amd64/.env").read_text()
    assert "MY_KEY=1\n" in env
    assert "NEW_KEY=7\n" in env


def test_a_conflict_in_the_example_never_reaches_env(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    example, env = project / "docker-amd64/.env.example", project / "docker-amd64/.env"
    before = env.read_bytes()
    line = "TZ=Etc/UTC"
    replace(example, line, "TZ=Europe/Paris\nMY_KEY=1")
    in_git(project)
    template = own_template / "template/docker-amd64/.env.example.jinja"
    replace(template, line, "TZ=UTC\nNEW_KEY=7")
    release(own_template)
    done = template_sh(project, "update")
    assert done.returncode == 1
    assert ".env.example has conflicts: solve them first" in done.stderr
    assert "1 file has lines that both you and the template changed" in done.stdout
    assert env.read_bytes() == before
    example.write_text(re.sub("(?m)^(<|=|>){7}.*\n", "", example.read_text()))
    in_git(project)
    assert template_sh(project, "env").returncode == 0
    assert "NEW_KEY=7\n" in env.read_text()


def test_an_env_that_cannot_be_read_hides_nothing_of_what_an_update_did(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    readme = "docker-amd64/README.md"
    replace(project / readme, "## Updating", "## Mine: updating")
    in_git(project)
    (own_template / f"template/{readme}.jinja").unlink()
    release(own_template)
    with (project / "docker-amd64/.env").open("a") as env:
        env.write("MY_NAME='not closed\n")
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    assert "MY_NAME" in done.stderr
    assert f"The template has removed {readme}. You had changed it, so it is kept." in done.stdout
    assert "## Mine: " in (project / readme).read_text()


@pytest.mark.usefixtures("news")
def test_taking_back_an_update_that_is_committed_is_left_to_git(
    project: Path, in_git: InGit
) -> None:
    nothing = template_sh(project, "update", "--undo")
    assert "There is no update that could be taken back here." in nothing.stderr
    assert template_sh(project, "update").returncode == 0
    in_git(project)
    after = state(project)
    refused = template_sh(project, "update", "--undo")
    assert refused.returncode == 1
    assert "git revert" in refused.stderr
    assert state(project) == after


@pytest.mark.usefixtures("news")
def test_an_answer_changes_without_moving_to_another_version(project: Path) -> None:
    done = template_sh(project, "update", "--data", "torch_version=none")
    assert done.returncode == 0, done.stderr
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert (answers["torch_version"], answers["_commit"]) == ("none", SNAPSHOT_TAG)
    assert "torch_version was " in done.stdout
    assert ", is none" in done.stdout


@pytest.mark.usefixtures("news")
def test_a_project_in_a_folder_of_a_larger_repository_is_updated_alone(
    own_template: Path, tmp_path: Path, in_git: InGit
) -> None:
    repository = tmp_path / "mono repo"
    project = repository / "vision & more"
    other = repository / "other"
    other.mkdir(parents=True)
    (other / "file").write_text("theirs\n")
    run_copy(
        str(own_template),
        project,
        vcs_ref=SNAPSHOT_TAG,
        answers_file=".copier-answers.hearth.yml",
        defaults=True,
        quiet=True,
        unsafe=True,
    )
    in_git(repository)
    before = state(repository)
    done = template_sh(project, "update", cwd=repository)
    assert done.returncode == 0, done.stderr
    assert "Next: cd 'vision & more' && git add --all" in done.stdout
    answers = yaml.safe_load((project / ".copier-answers.hearth.yml").read_text())
    assert answers["_commit"] == NEWER_TAG
    assert not (project / ".copier-answers.yml").exists()
    (other / "file").write_text("theirs, changed meanwhile\n")
    subprocess.run(["bash", "-c", undo_in(done.stdout)], check=True, capture_output=True)
    assert (other / "file").read_text() == "theirs, changed meanwhile\n"
    (other / "file").write_text("theirs\n")
    assert state(repository) == before


def test_beside_another_template_each_updates_its_own(
    own_template: Path, tmp_path: Path, in_git: InGit
) -> None:
    other, project, theirs = tmp_path / "other", tmp_path / "project", ".copier-answers.yml"
    other.mkdir()
    (other / "{{ _copier_conf.answers_file }}.jinja").write_text("{{ _copier_answers | to_json }}")
    (other / "theirs.txt").write_text("1\n")
    in_git(other)
    git(other, "tag", "v1.0.0")
    run_copy(str(other), project, defaults=True, quiet=True)
    in_git(project)
    before = (project / theirs).read_bytes()

    # Who forgets that there is one is told what to do.
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--overwrite"]
    said = subprocess.run(
        [*command, "--quiet", "--vcs-ref", SNAPSHOT_TAG, own_template, project],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"{theirs} had the answers of another template" in said
    git(project, "checkout", "HEAD", "--", theirs)
    run_copy(
        str(own_template),
        project,
        answers_file=".copier-answers.hearth.yml",
        vcs_ref=SNAPSHOT_TAG,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=True,
    )
    assert (project / theirs).read_bytes() == before
    in_git(project)

    replace(own_template / "template/docker-amd64/template.sh", "set -eu\n", "set -u -e\n")
    release(own_template)
    assert template_sh(project, "update").returncode == 0
    assert (project / theirs).read_bytes() == before
    in_git(project)
    (other / "theirs.txt").write_text("2\n")
    release(other, "v2.0.0")
    run_update(project, defaults=True, overwrite=True, quiet=True)
    assert (project / "theirs.txt").read_text() == "2\n"
    assert "set -u -e\n" in (project / SCRIPT).read_text()


def program(folder: Path, name: str, text: str) -> None:
    """Put a shell script on a path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def bare_path(folder: Path) -> Path:
    """Programs that every machine has, and nothing that could start Copier."""
    for name in ("sh", "bash", "env", "dirname", "cat", "git", "python3", "sed", "id", "true"):
        found = shutil.which(name)
        if name == "python3":
            program(folder, name, f'exec {Path("/usr/bin/python3").resolve()} "$@"')
        elif found:
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to(found)
    return folder


@pytest.mark.usefixtures("news")
def test_uv_installs_the_copier_of_the_new_versions_lock(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    path = bare_path(tmp_path / "bin")
    log = tmp_path / "log"
    program(path, "copier", "echo copier 9.0.0")  # too old
    makes = f"""for last; do :; done
echo "$*" >>"{log}"
pwd >>"{log}.folders"
case $1 in
    venv) /bin/mkdir -p "$last/bin" ;;
    pip)
        printf '#!/bin/sh\\nexec "%s" "$@"\\n' "{sys.executable}" >"${{last%/*}}/bin/python"
        /bin/chmod 755 "${{last%/*}}/bin/python"
        cat "$last" >"{log}.lock" ;;
esac"""
    program(path, "uv", makes)
    env = machine(PATH=str(path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    done = template_sh(project, "update", env=env)
    assert done.returncode == 0, done.stderr
    made, installed = log.read_text().splitlines()
    assert made.startswith("venv ")
    assert "--require-hashes --only-binary :all: -r" in installed
    # Where uv reads no uv.toml of the project, into which a program in a container could write.
    folders = Path(f"{log}.folders").read_text().splitlines()
    assert folders == [str(tmp_path / "cache/hearth")] * 2
    assert Path(f"{log}.lock").read_text() == git(
        own_template, "show", f"{NEWER_TAG}:requirements.txt"
    )
    assert "# News of the script." in (project / SCRIPT).read_text()
    # The next one finds it.
    assert template_sh(project, "update", "--undo").returncode == 0
    assert template_sh(project, "update", env=env).returncode == 0
    assert len(log.read_text().splitlines()) == 2


def test_a_copier_of_another_hash_is_not_installed(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    path, wheels = bare_path(tmp_path / "bin"), tmp_path / "wheels"
    wheels.mkdir()
    wheel = make_wheel(wheels, "copier", "99.0.0", files={"copier/__init__.py": ""})
    lock = own_template / "requirements.txt"
    lock.write_text(f"copier==99.0.0 --hash=sha256:{hashlib.sha256(b'another').hexdigest()}\n")
    release(own_template)
    before = state(project)
    env = machine(
        PATH=str(path),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_CONFIG_FILE="/dev/null",
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(wheels),
    )
    refused = template_sh(project, "update", env=env)
    assert "Copier could not be installed" in refused.stderr
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in refused.stderr
    assert state(project) == before
    assert not list((tmp_path / "cache/hearth").iterdir())
    # Nor is one of no hash at all.
    lock.write_text("")
    release(own_template, "v1001.0.0")
    refused = template_sh(project, "update", env=env)
    assert "(failure: copier-not-locked)" in refused.stderr
    assert state(project) == before


def test_the_lock_has_a_copier_that_renders_the_template_and_what_the_probe_asks_with() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    (copier,) = re.findall(r"(?m)^copier==([\d.]+) ", lock)
    assert tuple(map(int, copier.split("."))) >= OLDEST
    assert "\nnvidia-ml-py==" in lock
    for row in re.split(r"\n(?=[a-z])", lock)[1:]:
        assert "--hash=sha256:" in row


@pytest.mark.usefixtures("news")
def test_without_a_way_to_copier_there_is_one_sentence(project: Path, tmp_path: Path) -> None:
    path = bare_path(tmp_path / "bin")
    before = state(project)
    system = Path("/usr/bin/python3").resolve()
    # As Debian's without python3-venv.
    refuse = 'case "$*" in *ensurepip*) exit 1 ;; esac'
    program(path, "python3", f'{refuse}\nexec {system} "$@"')
    done = template_sh(project, "update", env=machine(PATH=str(path)))
    assert done.returncode == 1
    assert "neither uv nor a Python 3.10 with venv is here" in done.stderr
    # With venv, but without a network.
    program(path, "python3", f'exec {system} "$@"')
    closed = machine(
        PATH=str(path),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_CONFIG_FILE="/dev/null",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_FIND_LINKS="",
        PIP_RETRIES="0",
    )
    done = template_sh(project, "update", env=closed)
    assert done.returncode == 1
    assert "Copier could not be installed" in done.stderr
    assert state(project) == before


@pytest.mark.usefixtures("news")
def test_without_a_network_a_clone_of_the_template_serves(
    own_template: Path, project: Path, tmp_path: Path, in_git: InGit
) -> None:
    url = "https://template.invalid/org/hearth.git"
    replace(project / ".copier-answers.yml", f"_src_path: {own_template}", f"_src_path: {url}")
    in_git(project)
    refused = template_sh(project, "update", "--template", url)
    before = state(project)
    assert refused.returncode == 1
    assert f"The template cannot be reached at {url}" in refused.stderr
    assert command_in(refused.stderr).endswith("template.sh update --from FOLDER")
    assert state(project) == before
    done = template_sh(project, "update", "--from", "../hearth")
    assert done.returncode == 0, done.stderr
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert (answers["_src_path"], answers["_commit"]) == (url, NEWER_TAG)
    assert not list(tmp_path.glob("*.orig"))
    # It stands in for an address, and lets no other folder's code run.
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(own_template), str(other))
    replace(project / ".copier-answers.yml", url, str(other))
    in_git(project)
    refused = template_sh(project, "update", "--from", "../hearth")
    assert f"The project was made from the folder {other}, and" in refused.stderr
    replace(project / ".copier-answers.yml", str(other), url)
    # Of a folder that has moved, Copier wants to know where it is.
    replace(project / ".copier-answers.yml", url, str(tmp_path / "gone"))
    in_git(project)
    refused = template_sh(project, "update", "--from", "../hearth")
    assert "where it is now belongs into .copier-answers.yml, as _src_path." in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.usefixtures("news")
def test_a_template_at_an_address_is_fetched_once(
    own_template: Path, project: Path, tmp_path: Path, in_git: InGit
) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(own_template), "served/hearth.git")
    git(tmp_path / "served/hearth.git", "update-server-info")
    asked: list[str] = []

    class Served(SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(tmp_path / "served"))

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    # What a user can have set for all repositories, and what git sets for its hooks.
    settings = tmp_path / "settings"
    shutil.copy(os.environ["GIT_CONFIG_GLOBAL"], settings)
    for key, value in {
        "safe.bareRepository": "explicit",
        "log.showSignature": "true",
        "color.ui": "always",
    }.items():
        git(tmp_path, "config", "--file", str(settings), key, value)
    git(tmp_path, "init", "--quiet", "elsewhere")
    env = machine(
        GIT_CONFIG_GLOBAL=str(settings),
        GIT_DIR=str(tmp_path / "elsewhere/.git"),
        GIT_WORK_TREE=str(tmp_path / "elsewhere"),
        GIT_INDEX_FILE=str(tmp_path / "elsewhere/.git/index"),
    )
    with listening(Served, "127.0.0.1") as server:
        url = f"{server}/hearth.git"
        replace(project / ".copier-answers.yml", f"_src_path: {own_template}", f"_src_path: {url}")
        in_git(project)
        before = state(project)
        done = template_sh(project, "update", "--template", url, env=env)
    assert done.returncode == 0, done.stderr
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert (answers["_src_path"], answers["_commit"]) == (url, NEWER_TAG)
    assert len([path for path in asked if path.startswith("/hearth.git/info/refs")]) == 1
    subprocess.run(["bash", "-c", undo_in(done.stdout)], env=env, check=True)
    (project / "docker-amd64/.env.trusted").write_bytes(before["docker-amd64/.env.trusted"])
    assert state(project) == before
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [".git"]


@pytest.mark.usefixtures("news")
def test_temporary_files_are_in_memory_only_where_it_has_room(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr("host.update.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("host.update.ROOM", 1)
    assert memory() == tmp_path
    monkeypatch.setattr("host.update.ROOM", 2**70)
    assert memory() is None
    monkeypatch.setattr("host.update.SHARED_MEMORY", tmp_path / "none")
    assert memory() is None
    # A place that somebody has chosen is used, and left empty.
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    assert template_sh(project, "update", env=machine(TMPDIR=str(chosen))).returncode == 0
    assert not list(chosen.iterdir())


@pytest.mark.usefixtures("news")
def test_a_template_beside_the_project_is_found_from_any_folder(
    own_template: Path, project: Path, tmp_path: Path, in_git: InGit
) -> None:
    beside = Path("..") / own_template.name
    replace(project / ".copier-answers.yml", str(own_template), str(beside))
    in_git(project)
    done = template_sh(project, "update", "--check", cwd=tmp_path)
    assert f"From {SNAPSHOT_TAG} to {NEWER_TAG}." in done.stdout


@pytest.mark.usefixtures("news")
def test_a_template_without_tags_tells_its_news_too(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    commit = git(own_template, "rev-parse", f"{SNAPSHOT_TAG}^0").strip()
    for tag in git(own_template, "tag").split():
        git(own_template, "tag", "--delete", tag)
    asked = template_sh(project, "update", "--check")
    assert f"has no tags, so nobody knows what {SNAPSHOT_TAG} was." in asked.stderr
    assert command_in(asked.stderr).endswith("fetch --tags")
    recorded = project / ".copier-answers.yml"
    replace(recorded, f"_commit: {SNAPSHOT_TAG}", f"_commit: {commit[:7]}")
    in_git(project)
    asked = template_sh(project, "update", "--check")
    assert "- A telescope." in asked.stdout
    newest = git(own_template, "rev-parse", "HEAD").strip()
    replace(recorded, f"_commit: {commit[:7]}", f"_commit: {newest[:7]}")
    in_git(project)
    assert "has the newest version already" in template_sh(project, "update").stdout


@pytest.mark.usefixtures("news")
def test_a_version_that_cannot_be_had_is_said_in_one_sentence(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    git(own_template, "tag", "v0.4.0", "HEAD~1")
    for words, sentence in {
        ("7.0.0",): f"has no version v7.0.0; there are {NEWER_TAG}, {SNAPSHOT_TAG}, v0.4.0.",
        ("0.4.0",): f"The project has {SNAPSHOT_TAG}, which is newer than v0.4.0",
        ("soon",): "update: argument version: soon is not a version",
        ("--from", "nowhere"): "nowhere is no repository of the template here.",
    }.items():
        refused = template_sh(project, "update", *words)
        assert refused.returncode == 1
        assert sentence in refused.stderr
        assert "Traceback" not in refused.stderr
    recorded = project / ".copier-answers.yml"
    replace(recorded, f"_commit: {SNAPSHOT_TAG}", f"_commit: {SNAPSHOT_TAG}-1-g1234567")
    in_git(project)
    assert "generated from changes that nobody committed" in template_sh(project, "update").stderr
    replace(recorded, str(own_template), "../gone/hearth")
    in_git(project)
    gone = project.parent / "gone/hearth"
    assert "../gone/hearth is no repository of the template here." in (
        template_sh(project, "update", "--template", str(gone)).stderr
    )
    recorded.unlink()
    in_git(project)
    assert "the project has left its template" in template_sh(project, "update").stderr


def test_what_takes_an_update_back_runs_no_text_of_a_user(tmp_path: Path, in_git: InGit) -> None:
    text = "\ntouch was-run\n@STATE@ '$(touch was-run)'\n"
    root = tmp_path / f"project{text}"
    docker = root / "docker-amd64"
    docker.mkdir(parents=True)
    (docker / "file").write_text("before\n")
    in_git(root)
    head = git(root, "rev-parse", "HEAD").strip()
    checkout = Checkout(root, docker, f"answers{text}", text, f"v1{text}", root / ".git", head)
    take(checkout, ["docker-amd64/file"], tmp_path / f"scratch{text}")
    (checkout.state / "running").unlink()
    (docker / "file").write_text("after\n")
    subprocess.run(["bash", "-c", checkout.undo], cwd=tmp_path, check=True)
    assert (docker / "file").read_text() == "before\n"
    assert not list(tmp_path.rglob("was-run"))


@pytest.mark.parametrize("name", ["docker-amd64/file", "docker-amd64/.env"])
@pytest.mark.parametrize("broken", ['chmod 600 "$last"', 'echo other >"$last"'])
def test_that_an_update_is_taken_back_is_said_only_where_it_is_so(
    tmp_path: Path, in_git: InGit, name: str, broken: str
) -> None:
    root = tmp_path / "project"
    file = root / name
    file.parent.mkdir(parents=True)
    file.write_text("before\n")
    file.chmod(0o640)
    in_git(root)
    head = git(root, "rev-parse", "HEAD").strip()
    checkout = Checkout(root, file.parent, "", "", "", root / ".git", head)
    take(checkout, ["docker-amd64/file"], tmp_path / "scratch")
    (checkout.state / "running").unlink()
    file.write_text("after\n")
    program(
        tmp_path / "bin",
        "cp",
        f'for last; do :; done\n/bin/cp "$@"\ncase $last in *.tmp) {broken} ;; esac',
    )
    env = machine(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    take_back = ["bash", "-c", checkout.undo]
    done = subprocess.run(take_back, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{Path(name).name} is not as it was. Its copy: {checkout.state}" in done.stderr
    subprocess.run(take_back, capture_output=True, check=True)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("before\n", 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.usefixtures("news")
def test_a_clone_of_another_user_is_told_from_none_and_its_command_works(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n name = Test\n email = test@example.com\n")
    env = machine(GIT_CONFIG_GLOBAL=str(settings))
    for path in (own_template, *own_template.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    refused = template_sh(project, "update", "-y", env=env)
    assert refused.returncode == 1
    assert f"The repository {own_template} belongs to another user" in refused.stderr
    assert "(failure: repository-of-another-user)" in refused.stderr
    subprocess.run(["bash", "-c", command_in(refused.stderr)], env=env, check=True)
    done = template_sh(project, "update", "-y", env=env)
    assert done.returncode == 0, done.stderr


HOSTILE = """
_answers_file: .copier-answers.yml
_tasks: ["echo task >>{file}"]
_migrations: ["echo migration >>{file}"]
"""
HOSTILE_FILES = {
    "hooks/__init__.py": "",
    "hooks/update/__main__.py": "open({file!r}, 'a').write('update')",
    "template/docker-amd64/host/__init__.py": "",
    "requirements.txt": "",
}


@pytest.fixture
def hostile(tmp_path: Path, in_git: InGit) -> tuple[Path, Path]:
    """Another repository of the same versions, and the file that its tasks write."""
    folder, file = tmp_path / "hostile", tmp_path / "was-run"
    folder.mkdir()
    for name, text in {"copier.yml": HOSTILE, **HOSTILE_FILES}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.format(file=str(file)))
    (folder / "{{ _copier_conf.answers_file }}.jinja").write_text("{{ _copier_answers | to_yaml }}")
    in_git(folder)
    git(folder, "tag", SNAPSHOT_TAG)
    (folder / "CHANGELOG.md").write_text(NEWS)
    release(folder)
    return folder, file


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("record", ["own", "none", "of a pull request"])
def test_another_address_in_the_answers_runs_nothing_until_it_is_named(
    own_template: Path, project: Path, in_git: InGit, hostile: tuple[Path, Path], record: str
) -> None:
    evil, ran = hostile
    replace(project / ".copier-answers.yml", f": {own_template}\n", f": {evil}\n")
    file = project / "docker-amd64/.env.trusted"
    if record != "own":
        file.unlink()
    if record == "of a pull request":
        file.write_text(f"{evil}\n")
        git(project, "add", "--force", str(file))
    in_git(project)
    before = state(project)
    for words in (("-y",), (), ("--data", "jit=no"), ("--check",)):
        refused = template_sh(project, "update", *words)
        assert refused.returncode == 1
        assert f"failure: template-{'changed' if record == 'own' else 'new'}" in refused.stderr
        assert refused.stdout == f"Template: {evil}. This project has {SNAPSHOT_TAG}.\n"
        again = " ".join(("", *words))
        assert command_in(refused.stderr).endswith(f"template.sh update --template {evil}{again}")
        assert state(project) == before
        assert not ran.exists()
    if record == "own":
        wrong = template_sh(project, "update", "--template", str(own_template))
        assert "(failure: template-not-named)" in wrong.stderr
        assert not ran.exists()
        command = command_in(template_sh(project, "update", "-y").stderr)
        subprocess.run(["bash", "-c", command], cwd=project, env=machine(), check=True)
        assert ran.read_text()  # which shows that it would have
        assert file.read_text() == f"{evil}\n"


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("key", ["_src_path", '"_src\\x5fpath"'])
def test_an_address_that_only_yaml_reads_runs_nothing(
    own_template: Path, project: Path, in_git: InGit, hostile: tuple[Path, Path], key: str
) -> None:
    evil, ran = hostile
    line = f"_src_path: {own_template}\n"
    # Of two keys, the last counts.
    replace(project / ".copier-answers.yml", line, f"{line}{key}: {evil}\n")
    in_git(project)
    before = state(project)
    assert template_sh(project, "update", "-y").returncode != 0
    assert not ran.exists()
    assert state(project) == before


@pytest.mark.usefixtures("news")
def test_a_new_clone_asks_once_for_the_address_and_keeps_the_settings_of_copier(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    clone, settings = tmp_path / "clone", tmp_path / "settings.yml"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    settings.write_text("defaults:\n  color: green\n# a comment")
    question = "color:\n  type: str\n  default: red\n\n"
    replace(own_template / "copier.yml", "\njit:\n", f"\n{question}jit:\n")
    release(own_template, "v1001.0.0")
    for answer in ("n", "y"):
        child = pexpect.spawn(
            str(clone / SCRIPT),
            ["update", "v1000.0.0" if answer == "n" else "v1001.0.0"],
            cwd=clone,
            env=machine(TERM="xterm", COPIER_SETTINGS_PATH=str(settings)),
            encoding="utf-8",
            dimensions=(40, 220),
            timeout=240,
        )
        child.expect(r"has not trusted yet. Trust it\? \[y/N\] ")
        child.send(f"{answer}\r")
        if answer == "y":
            child.expect(r"Update the project\? \[Y/n\] ")
            child.send("n\r")
        child.expect("Nothing was changed.")
        child.expect(pexpect.EOF)
        child.close()
        assert (clone / "docker-amd64/.env.trusted").exists() == (answer == "y")
    done = template_sh(clone, "update", "-y", env=machine(COPIER_SETTINGS_PATH=str(settings)))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((clone / ".copier-answers.yml").read_text())["color"] == "green"


def test_addresses_are_read_as_copier_reads_them() -> None:
    from copier._vcs import get_repo  # noqa: PLC0415  what it would clone

    for given in (
        "gh:org/hearth",
        "gh:/org/hearth.git",
        "gl:org/group/hearth",
        "git+https://example.com/hearth",
        "https://example.com/hearth.git",
        "https://github.com/org/hearth",
        "https://gitlab.com/org/group/hearth.git",
        "git@example.com:org/hearth.git",
    ):
        assert address(given) == get_repo(given), given


def test_the_command_line_is_read_and_what_it_does_not_know_is_refused() -> None:
    parser = parser_of(find_verb("update"))
    asked = parser.parse_args(["1.2.3", "-y", "--data", "cca=7.5 8.6"])
    assert (asked.version, asked.data, asked.yes) == ("v1.2.3", ["cca=7.5 8.6"], True)
    for words in (["--data"], ["--data", "no value"], ["1.2.3", "1.2.4"], ["--form", "x"]):
        with pytest.raises(StopError, match="update"):
            parser.parse_args(words)


def test_the_oldest_copier_is_the_one_that_the_template_asks_for() -> None:
    settings = (ROOT / "copier.yml").read_text()
    assert f'_min_copier_version: "{".".join(map(str, OLDEST))}"' in settings


def test_the_version_of_a_copier_is_read_without_starting_it(tmp_path: Path) -> None:
    from importlib.metadata import version  # noqa: PLC0415

    found = tuple(map(int, version("copier").split(".")[:3]))
    assert copier_version(str(OWN_PROGRAMS / "copier")) == found
    program(tmp_path / "bin", "copier", "echo copier 12.3.4")
    assert copier_version(str(tmp_path / "bin/copier")) == (12, 3, 4)


def test_what_an_update_keeps_is_what_git_does_not_see() -> None:
    ignored = (ROOT / "template/docker-amd64/.gitignore.jinja").read_text().splitlines()
    files = {name for name in ignored if name.startswith((".env", "compose.")) and "*" not in name}
    # No update touches the first; the others are written before each start.
    assert set(HOST_FILES) == files - {"compose.override.yaml", *START_FILES}


def test_on_a_terminal_a_person_agrees_and_is_asked_what_is_new(
    own_template: Path, project: Path
) -> None:
    question = "color:\n  type: str\n  help: Which color?\n  default: red\n\n"
    replace(own_template / "copier.yml", "\njit:\n", f"\n{question}jit:\n")
    release(own_template)
    child = pexpect.spawn(
        str(project / SCRIPT),
        ["update"],
        cwd=project,
        env=machine(TERM="xterm", NO_COLOR="1", PROMPT_TOOLKIT_NO_CPR="1"),
        encoding="utf-8",
        dimensions=(40, 220),
        timeout=240,
    )
    child.expect(r"Update the project\? \[Y/n\] ")
    child.send("\r")
    child.expect("Which color")
    child.send("\x15blue\r")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert yaml.safe_load((project / ".copier-answers.yml").read_text())["color"] == "blue"
