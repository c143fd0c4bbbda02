"""`.ci/refresh`: one pull request, in a small clone with a remote and a `gh` of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.support.git import copy_working_tree, git

SAMPLES = ROOT / "tests" / "samples" / "refresh"
GH = """\
#!/bin/sh
echo "$*" >>"$0.log"
case "$*" in
    "pr list"*) cat "$0.open" 2>/dev/null || : ;;
    *) while [ "$1" != --body-file ]; do shift; done; cp "$2" "$0.body" ;;
esac
"""
BOT = "41898282+github-actions[bot]@users.noreply.github.com"


class Clone:
    """A clone on the branch main, its remote, and its gh."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.remote, self.gh = folder / "clone", folder / "remote.git", folder / "gh"
        copy_working_tree(ROOT, self.folder, without=("tests/", "template/"))
        (self.folder / ".venv").symlink_to(ROOT / ".venv")
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", f"{self.remote}")
        git(self.folder, "init", "--quiet", "--initial-branch=main")
        git(self.folder, "add", ".")
        git(self.folder, "commit", "--quiet", "--message", "the tables")
        git(self.folder, "remote", "add", "origin", f"{self.remote}")
        git(self.folder, "push", "--quiet", "origin", "main")
        self.gh.write_text(GH)
        self.gh.chmod(0o755)

    def refresh(self, samples: Path = SAMPLES, only: str = "conda", fails: bool = False) -> str:
        """Run it as on Monday, from main; what it prints."""
        git(self.folder, "switch", "--quiet", "--force", "main")
        path = f"{self.gh.parent}{os.pathsep}{os.environ['PATH']}"
        arguments = ["--from", f"{samples}", "--at", "2030-03-04", "--only", only]
        result = subprocess.run(
            [".ci/refresh", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "GITHUB_ACTIONS": "true"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (result.returncode != 0) == fails, result.stderr
        return result.stdout

    def called(self) -> list[str]:
        """What gh was called for."""
        log = self.gh.with_name("gh.log")
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [" ".join(line.split()[:2]) for line in lines]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_one_pull_request_shows_what_is_new_and_is_renewed_until_it_is_merged(clone: Clone) -> None:
    clone.refresh()
    assert clone.called() == ["pr list", "pr create"]
    shown = git(clone.remote, "show", "--format=%ae", "refresh-tables")
    assert shown.splitlines()[0] == BOT
    assert '+  - torch: "2.99.0"' in shown
    assert "+++ b/hooks/compat/table.json" in shown
    assert "Each changed row names its source" in clone.gh.with_name("gh.body").read_text()
    clone.gh.with_name("gh.open").write_text("7\n")
    clone.refresh()
    assert clone.called() == ["pr list", "pr edit"]
    assert git(clone.remote, "rev-list", "--count", "main..refresh-tables").strip() == "1"

    git(clone.remote, "update-ref", "refs/heads/main", "refresh-tables")
    git(clone.folder, "switch", "--quiet", "main")
    git(clone.folder, "pull", "--quiet", "origin", "main")
    assert "No table changes.\n" in clone.refresh()
    assert clone.called() == []


def test_what_a_person_has_added_to_the_pull_request_is_kept(clone: Clone) -> None:
    git(clone.folder, "switch", "--quiet", "--create", "refresh-tables")
    (clone.folder / "mine.txt").write_text("compiled targets\n")
    git(clone.folder, "add", "mine.txt")
    git(clone.folder, "commit", "--quiet", "--message", "mine")
    git(clone.folder, "push", "--quiet", "origin", "refresh-tables")
    assert "::warning::The branch refresh-tables has commits of " in clone.refresh()
    assert clone.called() == []
    assert git(clone.remote, "show", "refresh-tables:mine.txt") == "compiled targets\n"


def test_nothing_is_pushed_over_a_branch_that_could_not_be_looked_at(clone: Clone) -> None:
    git(clone.folder, "push", "--quiet", "origin", "main:refresh-tables")
    before = git(clone.remote, "rev-parse", "refresh-tables")
    own = clone.gh.with_name("git")  # before the real one in PATH
    own.write_text(f'#!/bin/sh\n[ "$1" != fetch ] || exit 128\nexec {shutil.which("git")} "$@"\n')
    own.chmod(0o755)
    clone.refresh(fails=True)
    assert clone.called() == []
    assert git(clone.remote, "rev-parse", "refresh-tables") == before


def test_a_source_that_cannot_be_read_is_a_warning_beside_the_age_of_each_table(
    clone: Clone, tmp_path: Path
) -> None:
    said = clone.refresh(tmp_path, "ngc")
    assert "::warning::A source of the compatibility tables could not be read" in said
    assert "ngc.yml was compared with its sources on" in said
    assert "- ngc-pytorch is not recorded\n" in said
    assert clone.called() == []


def test_only_the_last_step_has_a_token_and_it_may_do_no_more_than_it_needs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/refresh.yml").read_text())
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert [step for step in job["steps"] if "env" in step] == [job["steps"][-1]]
    assert job["steps"][0]["with"]["persist-credentials"] is False
