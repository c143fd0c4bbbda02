"""The repository itself: locks, versions, and what its files must not say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Generate
from tests.support.git import git
from tests.support.locks import LOCKS, locked_versions, pyproject, unlocked
from tests.support.process import run


@pytest.mark.parametrize("group", LOCKS)
def test_make_lock_was_run_after_the_last_change_of_a_dependency(group: str) -> None:
    assert unlocked(ROOT, group) == [], f"{LOCKS[group]} does not have them: run make lock"


def test_generating_and_developing_use_the_same_versions() -> None:
    dev = locked_versions(ROOT, LOCKS["dev"])
    for name, versions in locked_versions(ROOT, LOCKS["generate"]).items():
        assert versions <= dev[name], name


@pytest.mark.parametrize("lock", LOCKS.values())
def test_every_locked_package_has_a_hash_and_comes_from_whatever_index_the_user_has(
    lock: str,
) -> None:
    text = (ROOT / lock).read_text()
    assert "http" not in text
    packages = re.split(r"(?m)^(?=\S)", re.sub(r"(?m)^\s*#.*\n", "", text))
    for package in filter(None, packages):
        assert "--hash=sha256:" in package, package


def test_tests_resolve_with_the_uv_that_generated_projects_pin() -> None:
    pinned = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())["uv_image"].rpartition(":")[
        2
    ]
    assert locked_versions(ROOT, LOCKS["dev"])["uv"] == {pinned}


def test_each_action_of_the_workflows_is_pinned_by_digest_with_its_version_beside_it() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in re.findall(r"(?m)^.*\buses:.*$", workflow.read_text()):
            assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), f"{workflow.name}: {line}"


def test_each_release_has_a_known_commit(releases: dict[str, str], template: Path) -> None:
    for version, commit in releases.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert git(template, "rev-list", "--max-count=1", f"v{version}").strip() == commit
    assert list(releases) == sorted(releases, key=lambda version: [*map(int, version.split("."))])


def test_a_tag_leads_to_the_commit_that_was_released_and_none_is_unknown(
    releases: dict[str, str],
) -> None:
    newest = [*map(int, [*releases][-1].split("."))]
    for tag in git(ROOT, "tag", "--list", "v*").split():
        version = tag.removeprefix("v")
        if version in releases:
            commit = git(ROOT, "rev-parse", f"{tag}^{{commit}}").strip()
            assert commit == releases[version], f"{tag} was moved"
        else:  # a release that this commit does not know yet
            assert [*map(int, version.split("."))] > newest, tag


def test_the_changelog_tells_what_the_current_version_brings() -> None:
    version = pyproject(ROOT)["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    (text,) = re.findall(rf"(?ms)^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog)
    assert re.search(r"(?m)^- ", text)


def test_each_place_that_the_developers_page_names_exists() -> None:
    page = (ROOT / "docs/developing.md").read_text()
    section = page.split("\n## Where is ...?\n")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| ([^|]+\?) \| (.+) \|$", section)
    assert len(rows) >= 5
    for question, place in rows:
        paths = [word for word in re.findall(r"`([^`]+)`", place) if re.search(r"[./]", word)]
        assert paths, question
        for path in paths:
            assert list(ROOT.glob(path.rstrip("/"))), f"{question} {path}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").iterdir()), ids=lambda p: p.name)
def test_a_decision_has_a_context_and_a_consequence_on_one_screen(page: Path) -> None:
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name)
    text = page.read_text()
    assert re.findall(r"(?m)^## (.*)$", text) == ["Context", "Decision", "Consequence"]
    assert len(text.splitlines()) <= 60


def tracked_files() -> list[Path]:
    names = git(ROOT, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_scripts_can_be_started_from_a_fresh_clone() -> None:
    shell = [path for path in tracked_files() if path.suffix == ".sh"]
    scripts = [path for path in shell if path.read_bytes().startswith(b"#!")]
    assert scripts
    for script in [*scripts, ROOT / ".ci/run"]:
        assert script.stat().st_mode & 0o111, script


# What anybody may name; where else a machine is set up to download from is its owner's business.
PUBLIC = ("debian.org", "ubuntu.com", "pypi.org", "pytorch.org", "nvidia.com", "docker.com")


def test_no_file_names_the_package_mirrors_of_the_machine_it_was_written_on() -> None:
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    for path in Path("/etc/apt").glob("sources.list*/**/*"):
        settings += path.read_text()
    named = re.findall(r"https?://(?:[^/@\s]*@)?([\w.-]+)", settings)
    hosts = {host for host in named if not host.endswith(PUBLIC)}
    for path in tracked_files():
        text = path.read_text(errors="replace")
        assert not [host for host in hosts if host in text], path


@pytest.mark.parametrize(
    "answers",
    [
        {"accelerator": "cpu", "torch_version": "none"},
        {"accelerator": "cpu", "package_manager": "conda", "extras": ["ci"]},
        {"service": "train", "accelerator": "cuda", "pytorch_build": "source"},
    ],
    ids=["plain", "conda", "source"],
)
def test_the_manual_of_a_project_has_the_verbs_that_the_project_has(
    generate: Generate, tmp_path: Path, answers: dict[str, Any]
) -> None:
    project = generate(tmp_path / "project", **answers)
    table = re.search(
        r"(?m)^## Verbs\n\n\| verb \| does \|\n\|---\|---\|\n((?:\|.*\n)+)\n",
        (project / "docker-amd64/README.md").read_text(),
    )
    assert table
    named = re.findall(r"(?m)^\| `([a-z]+)", table[1])
    names = run("docker-amd64/template.sh", "help", "--names", cwd=project)
    assert named == names.stdout.split()
    assert ("wheels" in named) == ("pytorch_build" in answers)
    assert ("ci" in named) == ("extras" in answers)
