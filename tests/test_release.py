"""`make release` and `make release-tags`, in a small clone with a remote of its own.

Only the tests that a release runs, half an hour of them, are played by a stand-in.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.git import copy_working_tree, git
from tests.support.process import run

# Higher than any real one, so that these tests go on to work after the next release.
VERSION = "1000.0.0"
BEFORE = [x for x in (ROOT / "RELEASES").read_text().splitlines() if x[:1].isdigit()]
LAST, LAST_COMMIT = BEFORE[-1].split()
FIRST, FIRST_COMMIT = BEFORE[0].split()
# About noon where these tests are: no day ends while they run. POSIX counts zones to the west.
WEST = dt.datetime.now(dt.timezone.utc).hour - 12
NOON = {"TZ": f"NOON{WEST:+d}"}
TODAY = (dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=WEST)).date()
SECTION = """\
What this version is for.

### Added

- Something, on two lines
  of text.
"""
MAKE = shutil.which("make") or "make"
# What `make release` calls as `make test`.
STAND_IN = """\
#!/bin/sh
echo "$* HEARTH_ENGINE=$HEARTH_ENGINE VERSION=$VERSION MAKEFLAGS=$MAKEFLAGS" >>"$0.log"
[ ! -x "$0.more" ] || RELEASE=$PPID "$0.more" || exit
"""


class Clone:
    """A clone on the branch main that can be released as `VERSION`, and its remote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.remote = folder / "remote.git"
        self.programs = folder / "programs"

    def git(self, *arguments: str) -> str:
        return git(self.folder, *arguments).strip()

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        programs = f"BIN={Path(sys.executable).parent}"
        return run(
            *(MAKE, "--no-print-directory", programs, *arguments),
            cwd=self.folder,
            env=os.environ | NOON | {"PATH": path},
        )

    def release(self, version: str = VERSION) -> subprocess.CompletedProcess[str]:
        return self.make("release", f"VERSION={version}")

    def refusals(self, *arguments: str) -> dict[str, str]:
        """What stands in the way, sentence to command; nothing was tested or changed."""
        before = self.state()
        result = self.make(*(arguments or ("release", f"VERSION={VERSION}")))
        assert result.returncode == 2  # make's own
        assert "Traceback" not in result.stderr
        assert self.state() == before
        assert not self.tests()
        return dict(re.findall(r"(?m)^(.*)\n  Run: (.*)$", result.stderr))

    def state(self) -> tuple[str, ...]:
        return (
            self.git(
                "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"
            ),
            self.git("status", "--porcelain"),
            git(self.remote, "for-each-ref"),
            (self.folder / "RELEASES").read_text(),
        )

    def tests(self) -> list[str]:
        """Each time that tests ran: arguments and environment."""
        log = self.programs / "make.log"
        return log.read_text().splitlines() if log.exists() else []

    def while_testing(self, script: str) -> None:
        """Let the stand-in do something more; how it ends is how the tests end."""
        more = self.programs / "make.more"
        more.write_text(f"#!/bin/sh -e\n{script}\n")
        more.chmod(0o755)

    def edit(self, name: str, old: str, new: str, *, commit: bool = True) -> None:
        file = self.folder / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        if commit:
            self.git("commit", "--quiet", "--all", "--message", f"Change {name}")


@pytest.fixture(scope="module")
def released_soon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `clone` copies."""
    folder = tmp_path_factory.mktemp("release")
    clone = Clone(folder)
    bare = ("clone", "--quiet", "--no-tags", "--no-checkout", "--template=")
    git(folder, *bare, str(ROOT), str(clone.folder))
    copy_working_tree(ROOT, clone.folder)
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--allow-empty", "--message", "the working tree")
    clone.git("checkout", "--quiet", "-B", "main")
    (clone.folder / ".venv").mkdir()
    for name in ("pyvenv.cfg", "installed-dev"):
        (clone.folder / ".venv" / name).touch()
    text = (clone.folder / "pyproject.toml").read_text()
    text = re.sub(r'(?m)^version = ".*"$', f'version = "{VERSION}"', text)
    (clone.folder / "pyproject.toml").write_text(text)
    changelog = (clone.folder / "CHANGELOG.md").read_text()
    link = f"[{VERSION}]: https://github.com/org/hearth/releases/tag/v{VERSION}"
    changelog = re.sub(r"(?s)\n## \[Unreleased\].*?(?=\n## \[)", "", changelog)
    changelog = changelog.replace("\n## [", f"\n## [{VERSION}] - {TODAY}\n\n{SECTION}\n## [", 1)
    changelog = changelog.replace(f"\n[{LAST}]: ", f"\n{link}\n[{LAST}]: ")
    (clone.folder / "CHANGELOG.md").write_text(changelog)
    clone.git("commit", "--quiet", "--all", "--message", "Prepare a release")
    git(folder, "init", "--quiet", "--bare", "--template=", str(clone.remote))
    # Seen from the clone, so that copies of both find each other.
    clone.git("remote", "set-url", "origin", "../remote.git")
    clone.git("push", "--quiet", "--set-upstream", "origin", "main")
    clone.programs.mkdir()
    (clone.programs / "make").write_text(STAND_IN)
    (clone.programs / "make").chmod(0o755)
    # Fewer files to copy, and Python's bytecode.
    clone.git("repack", "-adq")
    clone.make("release")
    return folder


@pytest.fixture
def clone(released_soon: Path, tmp_path: Path) -> Clone:
    """A clone that is ready for its release, and has pushed all that it has."""
    shutil.copytree(released_soon, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Clone(tmp_path)


# --- a release -----------------------------------------------------------------------------------


def test_a_release_is_an_annotated_tag_with_the_changelogs_words_and_a_recorded_line(
    clone: Clone,
) -> None:
    tested = clone.git("rev-parse", "HEAD")
    result = clone.release()
    assert result.returncode == 0, result.stderr
    assert clone.tests() == ["test HEARTH_ENGINE=required VERSION= MAKEFLAGS="]
    assert clone.git("cat-file", "-t", f"v{VERSION}") == "tag"
    assert clone.git("rev-parse", f"v{VERSION}^{{commit}}") == tested
    message = clone.git("tag", "--list", "--format=%(contents)", f"v{VERSION}")
    assert message == f"Hearth {VERSION} - {TODAY}\n\n{SECTION}".strip()
    assert (clone.folder / "RELEASES").read_text().endswith(f"{BEFORE[-1]}\n{VERSION} {tested}\n")
    assert clone.git("rev-parse", "HEAD^") == tested
    assert clone.git("log", "-1", "--format=%s") == f"Record release {VERSION}"
    assert clone.git("show", "--name-only", "--format=", "HEAD") == "RELEASES"
    assert clone.git("status", "--porcelain") == ""


def test_nothing_is_pushed_but_the_command_that_does_it_is_said_and_works(clone: Clone) -> None:
    before = git(clone.remote, "for-each-ref")
    said = clone.release().stdout
    assert git(clone.remote, "for-each-ref") == before
    (command,) = re.findall(r"Nothing was pushed\. Run: (.*)", said)
    assert run(*command.split(), cwd=clone.folder).returncode == 0
    assert clone.git("ls-remote", "origin", "refs/heads/main").startswith(
        clone.git("rev-parse", "main")
    )
    assert f"refs/tags/v{VERSION}^{{}}" in clone.git("ls-remote", "origin")


def test_a_second_run_refuses_because_what_is_released_never_moves(clone: Clone) -> None:
    assert clone.release().returncode == 0
    commit = clone.git("rev-parse", f"v{VERSION}^{{commit}}")[:12]
    (clone.programs / "make.log").unlink()
    known = f"{VERSION} is released: RELEASES names its commit, {commit}"
    assert clone.refusals() == {
        f"{known}; what is released never moves.": "make release VERSION=1000.0.1"
    }


def test_tests_that_fail_leave_everything_as_it_was(clone: Clone) -> None:
    before = clone.state()
    clone.while_testing("exit 1")
    result = clone.release()
    assert result.returncode == 2
    assert "The tests failed: nothing was recorded or tagged.\n" in result.stderr
    assert "  Run: HEARTH_ENGINE=required make test\n" in result.stderr
    assert clone.state() == before


def test_what_ci_has_tested_is_not_tested_again(clone: Clone) -> None:
    tested = clone.git("rev-parse", "HEAD")
    words = f"TESTED has to be the last commit, {tested[:12]}, and CI has to have passed it."
    for other in (clone.git("rev-parse", "HEAD^"), tested[:7]):
        refused = clone.refusals("release", f"VERSION={VERSION}", f"TESTED={other}")
        assert refused == {words: "git log -3"}
    result = clone.make("release", f"VERSION={VERSION}", f"TESTED={tested[:12]}")
    assert result.returncode == 0, result.stderr
    assert f"{VERSION} is released from {tested[:12]}, which CI has tested." in result.stdout
    assert clone.tests() == []
    assert clone.git("rev-parse", f"v{VERSION}^{{commit}}") == tested


def test_what_was_not_tested_is_not_released(clone: Clone) -> None:
    clone.while_testing("git commit --quiet --allow-empty --message more")
    tested = clone.git("rev-parse", "HEAD")[:12]
    assert f"{tested} was tested, but it is no longer the last commit." in clone.release().stderr
    clone.while_testing("echo more >>README.md")
    assert "this is in none: README.md." in clone.release().stderr
    assert clone.git("tag") == ""


def test_an_interrupted_release_leaves_everything_as_it_was(clone: Clone) -> None:
    before = clone.state()
    # Outlives the stand-in, and holds none of its pipes.
    clone.while_testing("kill -INT $RELEASE\nexec sleep 30 >/dev/null 2>&1")
    result = clone.release()
    assert result.stderr.startswith("\nStopped: nothing was recorded.\n")
    assert "Traceback" not in result.stderr
    assert clone.state() == before


def hook(clone: Clone, name: str, script: str) -> None:
    """A hook of Git in the clone."""
    file = clone.folder / ".git" / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_a_commit_that_git_refuses_leaves_no_line(clone: Clone) -> None:
    before = clone.state()
    hook(clone, "pre-commit", "echo not today >&2; exit 1")
    result = clone.release()
    assert "Git does not commit the line of RELEASES: not today\n" in result.stderr
    assert f"  Run: make release VERSION={VERSION}\n" in result.stderr
    assert clone.state() == before


def test_a_tag_that_git_refuses_can_be_made_later_and_the_words_say_how(clone: Clone) -> None:
    tested = clone.git("rev-parse", "HEAD")
    hook(clone, "reference-transaction", '! { [ "$1" = prepared ] && grep -q refs/tags; }')
    result = clone.release()
    assert f"{VERSION} is recorded in RELEASES, but Git does not make its tag: " in result.stderr
    assert result.stderr.count("  Run: make release-tags\n") == 1
    (clone.folder / ".git/hooks/reference-transaction").unlink()
    (clone.programs / "make.log").unlink()
    ((sentence, command),) = clone.refusals().items()
    assert sentence.endswith("and only its tag is missing.")
    assert command == "make release-tags"
    assert clone.make("release-tags").returncode == 0
    assert clone.git("rev-parse", f"v{VERSION}^{{commit}}") == tested


# --- what is no release --------------------------------------------------------------------------


def test_without_a_version_the_words_say_what_to_type(clone: Clone) -> None:
    result = clone.make("release")
    assert result.stderr.startswith(
        f"Say which version is released: make release VERSION={VERSION}\n"
    )


def test_a_version_has_three_numbers_and_nothing_else(clone: Clone) -> None:
    major, minor, patch = LAST.split(".")
    command = f"make release VERSION={major}.{minor}.{int(patch) + 1}"
    what = "is no plain semantic version: three numbers with dots between them."
    for version in ("v1000.0.0", "1000.0", "1000.0.0-rc1", "1000.00.1", "$(id)", "1 2"):
        found = clone.refusals("release", f"VERSION={version.replace('$', '$$')}")
        assert found == {f'"{version}" {what}': command}


def test_a_version_is_higher_than_all_that_were_released(clone: Clone) -> None:
    found = clone.refusals("release", "VERSION=0.0.9")
    assert f"0.0.9 is lower than {LAST}, the highest version there is." in found
    found = clone.refusals("release", f"VERSION={LAST}")
    known = f"{LAST} is released: RELEASES names its commit, {LAST_COMMIT[:12]}, "
    assert found[f"{known}and only its tag is missing."] == "make release-tags"


@pytest.mark.parametrize("where", ["in this clone", "at the remote"])
@pytest.mark.parametrize("version", [VERSION, "1000.0.1"])
def test_no_version_gets_a_tag_when_there_is_one_or_a_higher_one(
    clone: Clone, where: str, version: str
) -> None:
    clone.git("tag", "--annotate", "--message", "too early", f"v{version}")
    if where == "at the remote":
        clone.git("push", "--quiet", "origin", f"v{version}")
        clone.git("tag", "--delete", f"v{version}")
    commit = clone.git("rev-parse", "HEAD")[:12]
    there = f"There is a tag v{VERSION} {where}, at {commit}: no tag is moved."
    lower = f"{VERSION} is lower than 1000.0.1, the highest version there is."
    expected = {VERSION: (there, 1), "1000.0.1": (lower, 2)}
    sentence, next_patch = expected[version]
    assert clone.refusals() == {sentence: f"make release VERSION=1000.0.{next_patch}"}


def test_all_that_stands_in_the_way_is_said_at_once_each_with_its_command(clone: Clone) -> None:
    clone.git("checkout", "--quiet", "-b", "feature")
    link = f"[{VERSION}]: https://github.com/org/hearth/releases/tag/v{VERSION}"
    clone.edit("pyproject.toml", f'version = "{VERSION}"', 'version = "999.0.0"')
    clone.edit(
        "pyproject.toml", '    "questionary>=2.1",', '    "questionary>=2.1",\n    "nonesuch",'
    )
    clone.edit(
        "CHANGELOG.md", f"## [{VERSION}] - {TODAY}\n\n{SECTION}", f"## [{VERSION}]\n\n### Added\n"
    )
    clone.edit("CHANGELOG.md", f"{link}\n", "")
    clone.edit(
        "CHANGELOG.md", f"## [{VERSION}]", f"## [Unreleased]\n\n- left over\n\n## [{VERSION}]"
    )
    clone.edit("docs/compatibility.md", "#", "# #")
    clone.edit("hooks/compat/choices.json", "{", "{ ")
    clone.edit("hooks/compat/table.json", "{", "{ ")
    clone.edit("README.md", "#", "# #", commit=False)
    for name in ("a", "b", "c"):
        (clone.folder / name).touch()
    edit = "${EDITOR:-vi} CHANGELOG.md"
    heading = f"`## [{VERSION}] - {TODAY}`"
    unreleased = f'"Unreleased": move it into the section {VERSION}'
    assert clone.refusals() == {
        "This is the branch feature: releases are made from main.": "git switch main",
        "What is released is a commit, and this is in none: README.md, a, b and 1 more.": (
            "git stash --include-untracked, or commit it"
        ),
        f"The section {VERSION} of CHANGELOG.md has no date: make its heading {heading}.": edit,
        f"The section {VERSION} of CHANGELOG.md says nothing.": edit,
        f"CHANGELOG.md has something under {unreleased}.": edit,
        f"CHANGELOG.md lacks `{link}` among its last lines.": edit,
        f"pyproject.toml has version 999.0.0, not {VERSION}.": (
            f".venv/bin/uv version --frozen {VERSION}"
        ),
        **{
            f"{file} is older than what it is made from.": f".venv/bin/python -m hooks.{module}"
            for file, module in {
                "hooks/compat/table.json": "compat.table",
                "hooks/compat/choices.json": "compat.make_choices",
                "docs/compatibility.md": "compat.make_docs",
            }.items()
        },
        **{
            f"{lock} was not made again since pyproject.toml asks for nonesuch.": "make lock"
            for lock in ("requirements.txt", "requirements-dev.txt")
        },
    }


def test_a_changelog_without_the_section_or_of_tomorrow_is_refused(clone: Clone) -> None:
    tomorrow = TODAY + dt.timedelta(days=1)
    clone.edit("CHANGELOG.md", f"[{VERSION}] - {TODAY}", f"[{VERSION}] - {tomorrow}")
    clone.git("push", "--quiet")
    assert [*clone.refusals()] == [
        f"The section {VERSION} of CHANGELOG.md is of {tomorrow}, and today is {TODAY}."
    ]
    clone.edit("CHANGELOG.md", f"## [{VERSION}]", "## [1000.1.0]")
    clone.git("push", "--quiet")
    assert [*clone.refusals()] == [f"CHANGELOG.md has no section `## [{VERSION}] - DATE`."]


def test_an_empty_section_for_what_is_unreleased_may_stay(clone: Clone) -> None:
    clone.edit("CHANGELOG.md", f"## [{VERSION}]", f"## Unreleased\n\n### Added\n\n## [{VERSION}]")
    assert clone.release().returncode == 0


def test_a_main_that_is_behind_is_refused(clone: Clone) -> None:
    clone.git("commit", "--quiet", "--allow-empty", "--message", "more")
    clone.git("push", "--quiet")
    clone.git("reset", "--quiet", "--hard", "HEAD^")
    clone.git("update-ref", "refs/remotes/origin/main", "HEAD")  # nobody has looked yet
    assert clone.refusals() == {"main lacks a commit that origin has.": "git pull --rebase"}


def test_a_remote_that_does_not_answer_is_named(clone: Clone) -> None:
    shutil.move(clone.remote, clone.remote.with_suffix(".away"))
    result = clone.release()
    assert result.returncode == 2
    assert "The remote origin does not say which tags it has: " in result.stderr
    assert "  Run: git ls-remote --tags origin\n" in result.stderr
    assert not clone.tests()


def test_a_clone_without_a_remote_or_a_branch_that_follows_can_release(clone: Clone) -> None:
    clone.git("remote", "remove", "origin")
    result = clone.release()
    assert result.returncode == 0, result.stderr
    assert f"git push --atomic REMOTE main v{VERSION}\n" in result.stdout


# --- tags of what was released -------------------------------------------------------------------


def test_missing_tags_are_made_with_the_words_and_the_date_of_their_time(clone: Clone) -> None:
    result = clone.make("release-tags")
    assert result.returncode == 0, result.stderr
    names = [f"v{line.split()[0]}" for line in BEFORE]
    assert clone.git("tag", "--list").split() == sorted(names)
    for line in BEFORE:
        version, commit = line.split()
        assert clone.git("cat-file", "-t", f"v{version}") == "tag"
        assert clone.git("rev-parse", f"v{version}^{{commit}}") == commit
        message = clone.git("tag", "--list", "--format=%(contents)", f"v{version}")
        assert message.startswith(f"Hearth {version} - 20")
        assert re.search(r"\n### (Added|Changed|Fixed)\n", message)
        dates = clone.git(
            "tag", "--list", "--format=%(taggerdate:unix) %(*committerdate:unix)", f"v{version}"
        )
        assert len({*dates.split()}) == 1
    assert f"Run: git push --atomic origin {' '.join(names)}\n" in result.stdout
    assert "This clone has all tags of RELEASES.\n" in clone.make("release-tags").stdout


def test_a_tag_that_the_remote_has_is_taken_from_there_and_not_made_again(clone: Clone) -> None:
    clone.git("tag", "--annotate", "--message", "the real one", f"v{FIRST}", FIRST_COMMIT)
    clone.git("push", "--quiet", "origin", f"v{FIRST}")
    real = clone.git("rev-parse", f"v{FIRST}")
    clone.git("tag", "--delete", f"v{FIRST}")
    assert f"v{FIRST}: taken from origin\n" in clone.make("release-tags").stdout
    assert clone.git("rev-parse", f"v{FIRST}") == real


def test_a_tag_that_moved_stops_a_release_and_is_not_moved_back(clone: Clone) -> None:
    clone.git("tag", f"v{FIRST}", LAST_COMMIT)
    moved = (
        f"The tag v{FIRST} in this clone leads to {LAST_COMMIT[:12]}, "
        f"but RELEASES says {FIRST_COMMIT[:12]}: a released tag never moves."
    )
    expected = {moved: f"git tag --delete v{FIRST} && make release-tags"}
    assert clone.refusals() == expected
    assert clone.refusals("release-tags") == expected
    clone.git("push", "--quiet", "origin", f"v{FIRST}")
    clone.git("tag", "--delete", f"v{FIRST}")
    there = {moved.replace("in this clone", "at origin"): f"git ls-remote --tags origin v{FIRST}"}
    assert clone.refusals() == there
    assert clone.refusals("release-tags") == there


def test_a_clone_without_the_history_says_what_it_lacks(clone: Clone, tmp_path: Path) -> None:
    shallow = Clone(tmp_path / "shallow")
    shallow.folder.parent.mkdir()
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{clone.folder}", str(shallow.folder))
    shutil.copytree(clone.folder / ".venv", shallow.folder / ".venv")
    (shallow.folder / ".venv/installed-dev").touch()
    shallow.remote, shallow.programs = clone.remote, clone.programs
    found = shallow.refusals("release-tags")
    assert (
        found[f"This clone does not have {FIRST_COMMIT[:12]}, the commit of {FIRST}."]
        == "git fetch --unshallow"
    )
