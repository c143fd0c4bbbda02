"""What git ignores, was told to overlook or is set to do: an update loses none of it.

Each situation is one in which a person lost something once, or would have.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hooks.update import snapshot
from hooks.update.changes import Plan
from hooks.update.renderings import File
from host.checkout import Checkout, UpdateError
from tests.conftest import SNAPSHOT_TAG, InGit
from tests.support.git import git
from tests.support.updates import NEWER_TAG, conflicts, release, replace, update
from tests.test_update_verb import SCRIPT, command_in, machine, state, template_sh, undo_in

DOCKER = "docker-amd64"
APT = f"{DOCKER}/dependencies/apt-dev.txt"
TUNING = f"{DOCKER}/tuning.env"
ENTRYPOINT = f"{DOCKER}/entrypoint.sh"
BRINGS = f"{DOCKER}/brings.txt"  # a file that the next version has and this one has not


@pytest.fixture
def news(own_template: Path) -> Path:
    """A next version of the template with a line more in some files, and a new file."""
    docker = own_template / "template" / DOCKER
    replace(docker / "dependencies/apt-dev.txt.jinja", "htop\n", "htop\nnews\n")
    replace(docker / ".env.example.jinja", "# Shared memory", "# News.\nNEW_KEY=7\n\n# Shared")
    for name in ("tuning.env", "entrypoint.sh.jinja"):
        with (docker / name).open("a") as file:
            file.write("# News.\n")
    (docker / "brings.txt").write_text("the template's\n")
    release(own_template)
    return own_template


def add_line(path: Path, line: str, *, at: int = 0) -> None:
    """Write a line into a file."""
    lines = path.read_text().splitlines()
    lines.insert(at, line)
    path.write_text("\n".join(lines) + "\n")


def everything(project: Path) -> dict[str, tuple[int, bytes]]:
    """All files of a project with their modes, but not git's own, nor what a turn leaves."""
    return {
        name: (stat.S_IMODE((project / name).stat().st_mode), content)
        for name, content in state(project).items()
        if not name.endswith(".env.turn")
    }


def taken_back(project: Path, before: dict[str, tuple[int, bytes]], said: str) -> bool:
    """Whether the command that an update prints brings all back to what it was."""
    subprocess.run(["bash", "-c", undo_in(said)], check=True, capture_output=True)
    return everything(project) == before


def ignored(project: Path) -> None:
    """Its .gitignore keeps lists of the template out of git; a colleague has changed one."""
    (project / ".gitignore").write_text("*.txt\n.env\n.env.*\n!.env.example\n")
    git(project, "rm", "--quiet", "--cached", APT)
    git(project, "commit", "--quiet", "--all", "--message", "no lists")
    add_line(project / APT, "mine")


def overlooked(project: Path, how: str) -> None:
    """Git was told to overlook what is changed in a file."""
    git(project, "update-index", f"--{how}", APT)
    add_line(project / APT, "mine")


def read_by_git_in_another_way(project: Path) -> None:
    """The user's settings of git would hide, refuse or change what an update does."""
    attributes = project.parent / "attributes"
    attributes.write_text("* merge=ours text eol=crlf -diff\n")
    (project.parent / "ignore").write_text("*.env\n*.txt\n")
    for key, value in {
        "apply.whitespace": "error",
        "core.whitespace": "trailing-space",
        "core.excludesFile": str(project.parent / "ignore"),
        "core.attributesFile": str(attributes),
        "status.showUntrackedFiles": "no",
        "status.relativePaths": "false",
        "diff.external": "false",
        "diff.noprefix": "true",
        "merge.conflictStyle": "diff3",
        "merge.ours.driver": "true",
        "core.quotePath": "true",
        "core.fileMode": "false",
        "commit.gpgSign": "true",
        "gpg.program": "false",
        "core.abbrev": "4",
        "color.ui": "always",
    }.items():
        git(project, "config", key, value)
    add_line(project / APT, "mine ")
    add_line(project / TUNING, "MINE=1 ")
    git(project, "-c", "commit.gpgSign=false", "commit", "--quiet", "--all", "--message", "mine")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize(
    "made",
    [
        ignored,
        lambda project: overlooked(project, "skip-worktree"),
        lambda project: overlooked(project, "assume-unchanged"),
        read_by_git_in_another_way,
    ],
    ids=["ignored", "skip-worktree", "assume-unchanged", "settings"],
)
def test_what_git_does_not_see_is_merged_and_can_be_taken_back(
    project: Path, made: Callable[[Path], None]
) -> None:
    made(project)
    before = everything(project)
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    lines = (project / APT).read_text().splitlines()
    assert lines[0].rstrip() == "mine"
    assert "news" in lines
    assert not list(project.rglob("*.rej"))
    assert taken_back(project, before, done.stdout)


def test_a_list_that_git_ignores_is_back_when_a_package_manager_is_taken_back(
    project: Path, in_git: InGit
) -> None:
    lists = f"{DOCKER}/dependencies/pyproject.toml"
    replace(project / lists, "[tool.uv]\n", '[tool.uv]\noverride-dependencies = ["numpy<2"]\n')
    (project / ".gitignore").write_text(f"{lists}*\n")
    git(project, "rm", "--quiet", "--cached", lists)
    in_git(project)
    before = everything(project)
    done = template_sh(project, "update", "--data", "package_manager=conda")
    assert done.returncode == 0, done.stderr
    assert (project / f"{lists}.old").exists()
    assert taken_back(project, before, done.stdout)


@pytest.mark.usefixtures("news")
def test_a_file_of_ones_own_that_git_lacks_is_kept_beside_the_templates(project: Path) -> None:
    add_line(project / ".git/info/exclude", "brings.txt")
    (project / BRINGS).write_text("mine\n")
    before = everything(project)
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    assert (project / BRINGS).read_text() == "mine\n"
    assert (project / f"{BRINGS}.new").read_text() == "the template's\n"
    assert f"{BRINGS} is yours, and git does not have it" in done.stdout
    assert taken_back(project, before, done.stdout)


@pytest.mark.usefixtures("news")
def test_what_a_sparse_checkout_leaves_out_is_not_taken_for_deleted(project: Path) -> None:
    lists = f"/{DOCKER}/dependencies/"
    git(project, "sparse-checkout", "set", "--no-cone", "/*", f"!{lists}")
    assert not (project / APT).exists()
    before = everything(project)
    refused = template_sh(project, "update")
    assert refused.returncode == 1
    assert "A sparse checkout leaves out " in refused.stderr
    assert everything(project) == before
    subprocess.run(["bash", "-c", command_in(refused.stderr)], check=True, capture_output=True)
    assert (project / APT).exists()


@pytest.mark.usefixtures("news")
def test_no_module_of_the_project_runs_in_an_update(project: Path, tmp_path: Path) -> None:
    names = ("hooks/__init__", "hooks/update/__main__", "host/__init__", "yaml", "copier", "shlex")
    for name in names:
        path = project / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "mine")
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_no_link_that_a_container_has_made_leads_an_update_out_of_the_project(
    news: Path, project: Path, tmp_path: Path
) -> None:
    del news
    add_line(project / ".git/info/exclude", "brings.txt*")
    mine = tmp_path / "mine"
    mine.write_text("mine\n")
    (project / BRINGS).symlink_to(mine)
    (project / f"{BRINGS}.new").symlink_to(mine)
    (project / f"{BRINGS}.new2").symlink_to(tmp_path / "nothing")
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    assert (project / f"{BRINGS}.new3").read_text() == "the template's\n"
    assert f"the template's is {BRINGS}.new3." in done.stdout
    assert template_sh(project, "update", "--undo").returncode == 0
    assert not (project / f"{BRINGS}.new3").exists()
    # Nor does one in place of a folder.
    shutil.move(project / DOCKER / "dependencies", tmp_path / "dependencies")
    (project / DOCKER / "dependencies").symlink_to(tmp_path / "dependencies")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "a link")
    refused = template_sh(project, "update")
    assert "is a symbolic link, and the template has the file" in refused.stderr
    assert mine.read_text() == "mine\n"


def test_modes_and_line_ends_stay_what_the_user_made_them(
    news: Path, project: Path, in_git: InGit
) -> None:
    del news
    crlf = (project / APT).read_bytes().replace(b"\n", b"\r\n")
    (project / APT).write_bytes(crlf)
    (project / ENTRYPOINT).chmod(0o750)
    (project / TUNING).chmod(0o660)
    in_git(project)
    modes = {name: everything(project)[name][0] for name in (ENTRYPOINT, TUNING, f"{DOCKER}/.env")}
    before = everything(project)
    umask = os.umask(0o077)
    try:
        done = template_sh(project, "update")
    finally:
        os.umask(umask)
    assert done.returncode == 0, done.stderr
    assert (project / APT).read_bytes() == crlf.replace(b"htop\r\n", b"htop\r\nnews\r\n")
    assert {name: everything(project)[name][0] for name in modes} == modes
    assert everything(project)[BRINGS][0] == 0o644
    assert taken_back(project, before, done.stdout)


@pytest.mark.usefixtures("news")
def test_the_lock_of_another_git_is_respected(project: Path) -> None:
    script = project / ENTRYPOINT
    lines = script.read_text().splitlines(keepends=True)
    script.write_text("".join([*lines[:-1], "# Mine.\n"]))
    git(project, "commit", "--quiet", "--all", "--message", "mine")
    lock = project / ".git/index.lock"
    lock.write_text("")
    before = state(project)
    refused = template_sh(project, "update")
    assert refused.returncode == 1
    assert "Another git command works in this repository" in refused.stderr
    assert state(project) == before
    subprocess.run(["bash", "-c", command_in(refused.stderr)], check=True)
    done = template_sh(project, "update")
    lock.write_text("")
    kept = subprocess.run(
        ["bash", "-c", undo_in(done.stdout)], capture_output=True, text=True, check=False
    )
    assert kept.returncode == 1
    assert f"one was killed: rm {lock}" in kept.stderr
    assert lock.exists()


@pytest.mark.usefixtures("news")
def test_what_cannot_be_written_is_found_before_anything_is_touched(project: Path) -> None:
    # Root may write everywhere, unless it gives that up.
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")

    def as_person(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*(without if os.geteuid() == 0 else ()), *command],
            cwd=project,
            env=machine(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    closed = project / DOCKER / "dependencies"
    closed.chmod(0o555)
    before = everything(project)
    refused = as_person(str(project / SCRIPT), "update")
    assert "You cannot write in docker-amd64/dependencies" in refused.stderr
    assert everything(project) == before
    closed.chmod(0o755)
    before = everything(project)
    done = as_person(str(project / SCRIPT), "update")
    assert done.returncode == 0, done.stderr
    after = everything(project)
    closed.chmod(0o555)
    refused = as_person("bash", "-c", undo_in(done.stdout))
    assert refused.returncode == 1
    assert f"Nothing was taken back: you cannot write in {DOCKER}/dependencies." in refused.stderr
    assert everything(project) == after
    closed.chmod(0o755)
    assert as_person("bash", "-c", undo_in(done.stdout)).returncode == 0
    assert everything(project) == before


def test_on_a_full_disk_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    project = Checkout(tmp_path, tmp_path, "", "", "", tmp_path / ".git", "")
    plan = Plan(writes={"file": File(b"much")})
    snapshot.check_possible(project, plan)
    full = os.statvfs(tmp_path)
    monkeypatch.setattr(snapshot, "ROOM", full.f_bavail * full.f_frsize * 2)
    with pytest.raises(UpdateError, match="is full"):
        snapshot.check_possible(project, plan)
    # Root may write everywhere.
    closed = str(tmp_path / ".git")
    monkeypatch.setattr("os.access", lambda path, _: str(path) != closed)
    with pytest.raises(UpdateError, match="what takes the update back has no place"):
        snapshot.check_possible(project, plan)


# --------------------------------------------------------------------------------------- answers


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("torch_versoin=2.13.0", "torch_versoin is no question: did you mean torch_version?"),
        ("color=red", "color is no question: there are project_name, "),
        ("has_code=true", "has_code is computed from the answers"),
        ("service=big", "'big' is not in ['simple', 'train', 'devel', 'ngc', 'hub']"),
        ("project_name=A B", "Use lower-case letters and digits"),
        ("ngc_release=26.08", "is not asked with"),
        ("extras=no list", "Not a YAML list"),
    ],
)
def test_an_answer_that_is_not_asked_for_changes_nothing(
    project: Path, data: str, sentence: str
) -> None:
    before = state(project)
    refused = template_sh(project, "update", "--data", data)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert state(project) == before
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("service: simple", "service: [", ".copier-answers.yml is no YAML"),
        ("service: simple", "service: big", "has an answer that v999.0.0 does not take"),
        ("_commit: v999.0.0\n", "", "does not know the version that this project was made from"),
    ],
)
def test_answers_that_were_edited_by_hand_end_in_one_sentence(
    project: Path, in_git: InGit, old: str, new: str, sentence: str
) -> None:
    replace(project / ".copier-answers.yml", old, new)
    in_git(project)
    before = state(project)
    refused = template_sh(project, "update")
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert state(project) == before


def test_a_pipeline_of_ones_own_survives_another_host(project: Path, in_git: InGit) -> None:
    words = ("update", "--data", "extras=[ci]", "--data")
    assert template_sh(project, *words, "ci_host=gitlab").returncode == 0
    pipeline = project / ".gitlab-ci.yml"
    add_line(pipeline, "# Mine.")
    in_git(project)
    mine = pipeline.read_text()
    done = template_sh(project, *words, "ci_host=github")
    assert done.returncode == 0, done.stderr
    assert pipeline.read_text() == mine
    assert "The template has removed .gitlab-ci.yml. You had changed it" in done.stdout
    assert not (project / ".gitlab").exists()


# ------------------------------------------------------------------------------------- conflicts


def test_a_file_that_the_template_renames_takes_the_users_changes_along(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    docker = own_template / "template" / DOCKER
    git(own_template, "mv", str(docker / "entrypoint.sh.jinja"), str(docker / "start.sh.jinja"))
    with (docker / "start.sh.jinja").open("a") as file:
        file.write("# News.\n")
    release(own_template)
    add_line(project / ENTRYPOINT, "# Mine.", at=1)
    in_git(project)
    before = everything(project)
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    text = (project / DOCKER / "start.sh").read_text()
    assert "# Mine.\n" in text
    assert text.endswith("# News.\n")
    assert not (project / ENTRYPOINT).exists()
    assert f"{ENTRYPOINT} is {DOCKER}/start.sh now; your changes went along." in done.stdout
    assert taken_back(project, before, done.stdout)


def test_what_a_person_would_not_call_a_conflict_is_none(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    for name, mine, theirs in (
        (".gitignore", "mine/", "theirs/"),
        (f"{DOCKER}/.dockerignore", "mine", "!theirs"),
        (f"{DOCKER}/README.md", "My words.", "Their words."),
    ):
        with (project / name).open("a") as file:
            file.write(f"{mine}\n")
        source = own_template / "template" / name
        source = source if source.exists() else source.with_name(f"{source.name}.jinja")
        with source.open("a") as file:
            file.write(f"{theirs}\n")
    compose = f"{DOCKER}/compose.yaml"
    place = "; the default is 10 seconds.\n  stop_grace_period: 60s\n"
    replace(project / compose, place, f"{place}  mem_limit: 8g\n")
    template = own_template / "template" / f"{compose}.jinja"
    replace(template, place, place.replace("60s", "90s"))
    in_git(project)
    release(own_template)
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stdout
    assert conflicts(project) == ""
    assert (project / ".gitignore").read_text().endswith("theirs/\nmine/\n")
    assert "stop_grace_period: 90s\n  mem_limit: 8g\n" in (project / compose).read_text()
    yaml.safe_load((project / compose).read_text())


def test_when_conflicts_are_solved_the_update_goes_on(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    line = (project / ENTRYPOINT).read_text().splitlines()[1]
    replace(project / ENTRYPOINT, line, "# mine")
    git(project, "commit", "--quiet", "--all", "--message", "Tell whose it is")
    replace(own_template / f"template/{ENTRYPOINT}.jinja", line, "# theirs")
    changelog = "# Changelog\n\n## [1000.0.0] - 2027-01-01\n\n- `entrypoint.sh` says it better.\n"
    (own_template / "CHANGELOG.md").write_text(changelog)
    release(own_template)
    before = everything(project)
    done = template_sh(project, "update")
    assert done.returncode == 1
    assert "Tell whose it is; the template's: `entrypoint.sh` says it better." in done.stdout
    refused = template_sh(project, "update", "--continue")
    assert f"{ENTRYPOINT} still has lines between" in refused.stderr
    git(project, "add", ENTRYPOINT)  # as an editor does
    refused = template_sh(project, "update", "--continue")
    assert f"{ENTRYPOINT} still has lines between" in refused.stderr
    text = (project / ENTRYPOINT).read_text().splitlines()
    (project / ENTRYPOINT).write_text("\n".join(x for x in text if x[:7] not in MARKS) + "\n")
    own_template.rename(own_template.with_name("not needed"))
    done = template_sh(project, "update", "--continue")
    assert done.returncode == 0, done.stderr
    assert ".env: nothing to add.\n" in done.stdout
    assert conflicts(project) == ""
    assert f"Next: git -C {project} add --all && git -C {project} commit" in done.stdout
    undone = template_sh(project, "update", "--undo")
    assert undone.returncode == 0, undone.stderr
    assert everything(project) == before
    git(project, "stash", "apply")
    assert "# theirs" in (project / ENTRYPOINT).read_text()
    in_git(project)
    refused = template_sh(project, "update", "--continue")
    assert "There are no conflicts here" in refused.stderr


MARKS = ("<<<<<<<", "=======", ">>>>>>>")


def test_a_renamed_question_keeps_its_answer(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    settings = own_template / "copier.yml"
    question = "{name}:\n  type: str\n  default: red\n\n"
    replace(settings, "\njit:\n", "\n" + question.format(name="color") + "jit:\n")
    release(own_template)
    assert template_sh(project, "update").returncode == 0
    in_git(project)
    assert template_sh(project, "update", "--data", "color=blue").returncode == 0
    in_git(project)
    replace(settings, "\ncolor:\n", "\ncolour:\n")
    migration = """_migrations:
  - version: v1001.0.0
    command:
      - "{{ _copier_python }}"
      - -B
      - "{{ _copier_conf.src_path }}/hooks/update/rename_answer.py"
      - "{{ _copier_conf.answers_file }}"
      - color
      - colour
    when: "{{ _stage == 'before' }}"
"""
    replace(settings, "_migrations:\n", migration)
    release(own_template, "v1001.0.0")
    done = template_sh(project, "update")
    assert done.returncode == 0, done.stderr
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["colour"] == "blue"
    assert "color" not in answers
    assert (answers["_commit"], SNAPSHOT_TAG != NEWER_TAG) == ("v1001.0.0", True)


def test_a_version_is_recorded_by_its_number_whatever_other_tags_it_has(
    news: Path, project: Path
) -> None:
    git(news, "tag", "--annotate", "--message", "of a lab", "stable", NEWER_TAG)
    assert template_sh(project, "update").returncode == 0
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["_commit"] == NEWER_TAG


def test_no_hook_of_git_runs_in_an_update(own_template: Path, project: Path) -> None:
    line = (project / ENTRYPOINT).read_text().splitlines()[1]
    replace(project / ENTRYPOINT, line, "# mine")
    git(project, "commit", "--quiet", "--all", "--message", "mine")
    replace(own_template / f"template/{ENTRYPOINT}.jinja", line, "# theirs")
    release(own_template)
    hook = project / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-ran\n")
    hook.chmod(0o755)
    update(project)  # as template.sh of an older version does, which lets hooks run
    assert ENTRYPOINT in git(project, "-c", "core.hooksPath=/dev/null", "status", "--porcelain")
    assert not (project / "hook-ran").exists()


def test_in_a_worktree_conflicts_are_its_own(
    own_template: Path, project: Path, tmp_path: Path
) -> None:
    line = (project / ENTRYPOINT).read_text().splitlines()[1]
    replace(project / ENTRYPOINT, line, "# mine")
    git(project, "commit", "--quiet", "--all", "--message", "mine")
    replace(own_template / f"template/{ENTRYPOINT}.jinja", line, "# theirs")
    release(own_template)
    tree = tmp_path / "a tree"
    git(project, "worktree", "add", "--quiet", "-b", "tree", str(tree))
    shutil.copy(project / DOCKER / ".env.trusted", tree / DOCKER)
    done = template_sh(tree, "update")
    assert done.returncode == 1, done.stderr
    assert ENTRYPOINT in conflicts(tree)
    assert conflicts(project) == ""
    subprocess.run(["bash", "-c", undo_in(done.stdout)], check=True, capture_output=True)
    assert git(tree, "status", "--porcelain", "--untracked-files=no") == ""
