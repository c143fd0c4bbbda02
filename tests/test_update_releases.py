"""A project of each released version comes to this one: for each service and package manager."""

from __future__ import annotations

import json
import os
import re
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.update import after_update
from host.env_file import DERIVED, read_env, set_keys
from tests.conftest import ROOT, SNAPSHOT_TAG, Generate, InGit
from tests.support.git import git
from tests.support.process import run
from tests.support.updates import conflicts, update

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKER = "docker-amd64"
DEPENDENCIES = f"{DOCKER}/dependencies"
SERVICES = ("simple", "train", "devel", "ngc", "hub")
# What a person may have done to each file that he is likely to touch: the place, and his line.
EDITS = {
    f"{DOCKER}/Dockerfile": ('CMD ["bash"]\n', 'ENV MINE=1\nCMD ["bash"]\n'),
    f"{DOCKER}/compose.yaml": ("    TZ: ${TZ", "    MINE: x\n    TZ: ${TZ"),
    f"{DEPENDENCIES}/apt-dev.txt": ("htop\n", "htop\nnvtop\n"),
    f"{DEPENDENCIES}/apt-runtime.txt": ("tzdata\n", "tzdata\nlibgl1\n"),
    "README.md": ("\n\n", "\n\nMy own words.\n\n"),
}
PACKAGES = {
    "pip": (
        f"{DEPENDENCIES}/pyproject.toml",
        "dependencies = []",
        'dependencies = ["einops>=0.8"]',
    ),
    "conda": (f"{DEPENDENCIES}/environment.yml", "  # Yours:\n", "  # Yours:\n  - scipy\n"),
}
LOCKS = {"pip": "uv.lock", "conda": "conda.lock"}
DELETED = f"{DOCKER}/tuning.env", f"{DEPENDENCIES}/apt-build.txt"
ENV = {"SHM_SIZE": "3gb", "NETRC_FILE": "/home/jane/.netrc", "MY_TOKEN": "s3cret $x 'y'"}


def released() -> list[str]:
    lines = (ROOT / "RELEASES").read_text().splitlines()
    versions = [line.split()[0] for line in lines if line and line[0] != "#"]
    # What the working tree still calls its own is no older version.
    now = re.findall(r'(?m)^version = "(.*)"', (ROOT / "pyproject.toml").read_text())
    return [version for version in versions if version not in now]


def cases() -> list[tuple[str, str, str]]:
    """Each version once, each pair of service and manager, and every pair with the last version.

    With HEARTH_EVERY_PAIR every pair with each version: what is released does not
    change, and each of these updates takes some seconds.
    """
    offered: list[tuple[str, str, str]] = []
    for version in released():
        numbers = [int(part) for part in version.split(".")]
        for service in SERVICES if numbers >= [0, 3] else SERVICES[:1]:
            offered.append((version, service, "pip"))
            if numbers >= [0, 4] and service not in ("ngc", "hub"):
                offered.append((version, service, "conda"))
    whole = released() if os.environ.get("HEARTH_EVERY_PAIR") else released()[-1:]

    def covered(case: tuple[str, str, str]) -> set[tuple[str, ...]]:
        version, *others = case
        pairs = set(combinations(case, 2)) if version in whole else {tuple(others)}
        return {(version,), *pairs}

    missing = set().union(*map(covered, offered))
    found: list[tuple[str, str, str]] = []
    best = (released()[-1], "simple", "pip")  # what most people have

    def gain(case: tuple[str, str, str]) -> tuple[int, int, int]:
        """How much of what is missing a case has; of equals, the service that came least often."""
        times = sum(one[1] == case[1] for one in found)
        return len(covered(case) & missing), -times, offered.index(case)

    while missing:
        found.append(best)
        missing -= covered(best)
        best = max(offered, key=gain)
    return sorted(found, key=offered.index)


def answers_of(project: Path) -> dict[str, Any]:
    answers: dict[str, Any] = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return answers


@pytest.mark.usefixtures("releases")
@pytest.mark.parametrize("case", cases(), ids=" ".join)
def test_a_persons_work_survives_and_the_rest_is_as_in_a_fresh_copy(
    generate: Generate, tmp_path: Path, in_git: InGit, case: tuple[str, str, str]
) -> None:
    version, service, manager = case
    given = {"project_kind": "new", "service": service, "package_manager": manager}
    project = generate(tmp_path / "project", hook=True, version=f"v{version}", **given)
    in_git(project)
    packages, *edit = PACKAGES[manager]
    edits = EDITS | {packages: (edit[0], edit[1])}
    for name, (old, new) in edits.items():
        text = (project / name).read_text()
        assert old in text, name
        (project / name).write_text(text.replace(old, new, 1))
    deleted = next(name for name in DELETED if (project / name).exists())
    (project / deleted).unlink()
    added = project / DOCKER / "pre-run.sh"
    added.write_text("echo mine\n")
    added.chmod(0o755)
    lock = project / DEPENDENCIES / LOCKS[manager]
    lock.write_text("# a lock\n")
    in_git(project)
    set_keys(project / DOCKER, [f"{key}={value}" for key, value in ENV.items()])
    override = project / DOCKER / "compose.override.yaml"
    override.write_text("services: {}\n")
    environment = read_env((project / DOCKER / ".env").read_text())

    update(project, project_name="another-name")

    assert conflicts(project) == ""
    assert not list(project.rglob("*.rej"))
    for name, (old, new) in edits.items():
        own = new.replace(old, "").strip() or new.strip()
        assert own in (project / name).read_text(), name
    assert not (project / deleted).exists()
    assert added.stat().st_mode & 0o777 == 0o755
    assert lock.read_text() == "# a lock\n"
    assert override.read_text() == "services: {}\n"
    now = read_env((project / DOCKER / ".env").read_text())
    example = read_env((project / DOCKER / ".env.example").read_text())
    removed = environment.keys() - now.keys()  # such as GPU_IDS in a project for the CPU
    assert removed.isdisjoint({*ENV, *example})
    # What nobody has typed follows the newer tables.
    mine = {key: value for key, value in environment.items() if key not in {*removed, *DERIVED}}
    assert mine.items() <= now.items()
    assert set(example) <= set(now)

    kept = answers_of(project)
    assert (kept["_commit"], kept["project_name"]) == (SNAPSHOT_TAG, "another-name")
    assert kept["service"] == service
    answers = {name: value for name, value in kept.items() if name[0] != "_"}
    fresh = generate(tmp_path / "fresh" / "project", **answers)
    names, rendered = tracked(project, in_git), tracked(fresh, in_git)
    # A hook, which made only the older one, records that it imported nothing.
    names -= {f"{DEPENDENCIES}/imported.json"}
    assert names == rendered - {deleted} | {
        str(path.relative_to(project)) for path in (added, lock)
    }
    for name in names & rendered - set(edits):
        if name != ".copier-answers.yml":
            assert (project / name).read_text() == (fresh / name).read_text(), name
        mode = (project / name).stat().st_mode
        assert mode & 0o111 == (fresh / name).stat().st_mode & 0o111, name
    assert {**kept, "_src_path": ""} == {**answers_of(fresh), "_src_path": ""}


@pytest.mark.usefixtures("releases")
def test_sources_and_tools_of_a_person_survive_beside_the_projects_own_requirements(
    generate: Generate, tmp_path: Path, in_git: InGit
) -> None:
    project = generate(
        tmp_path / "project", hook=True, version="v0.5.2", project_kind="new", torch_version="none"
    )
    file = project / DEPENDENCIES / "pyproject.toml"
    text = file.read_text().replace('    "pytest",\n', '    "pytest>=8",\n    "mypy",\n')
    text = text.replace("dependencies = []", 'dependencies = ["mine"]')
    file.write_text(text + '\n[tool.uv.sources]\nmine = { git = "https://example.org/mine" }\n')
    in_git(project)
    update(project)
    assert conflicts(project) == ""
    content = tomllib.loads(file.read_text())
    assert content["project"]["dependencies"] == ["mine"]
    assert content["dependency-groups"]["dev"] == ["ipython", "pytest>=8", "mypy", "ruff"]
    assert content["dependency-groups"]["project"] == ["project-requirements"]
    assert content["tool"]["uv"]["sources"] == {
        "mine": {"git": "https://example.org/mine"},
        "project-requirements": {"path": "project"},
    }


def tracked(project: Path, in_git: InGit) -> set[str]:
    in_git(project)
    return set(git(project, "ls-files", "-z").split("\0")[:-1])


def test_a_file_that_the_template_has_no_more_goes_unless_it_was_changed(
    releases: dict[str, str],
    generate: Generate,
    tmp_path: Path,
    in_git: InGit,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert "0.2.0" in releases
    old = "docker-amd64/probe.py"  # the folder host/ since 0.3.0
    for mine in ("", "# my own lines\n"):
        folder = tmp_path / ("changed" if mine else "as it was")
        project = generate(folder, hook=True, version="v0.2.0", project_kind="new")
        with (project / old).open("a") as file:
            file.write(mine)
        in_git(project)
        capfd.readouterr()
        update(project)
        told = f"The template has removed {old}. You had changed it, so it is kept."
        assert (told in capfd.readouterr().out) == bool(mine)
        assert (project / old).exists() == bool(mine)
        if mine:
            assert (project / old).read_text().endswith(mine)


def test_a_released_question_keeps_its_name_and_its_choices(releases: dict[str, str]) -> None:
    """Copier forgets the answer of a question that is gone, and one that is no choice any more.

    The last commit is read as a release too, since it may become one.
    """
    settings = yaml.safe_load((ROOT / "copier.yml").read_text())
    table = json.loads((ROOT / "hooks/compat/choices.json").read_text())
    pins = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())
    for version, commit in {**releases, "the last commit": "HEAD"}.items():
        then = yaml.safe_load(git(ROOT, "show", f"{commit}:copier.yml"))
        for name, question in then.items():
            if name[0] == "_" or question.get("when") is False:
                continue
            assert name in settings, f"{name}, a question of {version}: see docs/developing.md"
            offered = question.get("choices")
            if isinstance(offered, dict):
                now = str(settings[name]["choices"])
                for choice in offered.values():
                    value = choice["value"] if isinstance(choice, dict) else choice
                    assert re.search(rf"(: |value: |\| )'?{value}\b", now), f"{name}: {value}"
        rows = json.loads(git(ROOT, "show", f"{commit}:hooks/compat/choices.json"))
        for part in ("torch", "cuda", "ngc", "hub", "conda"):
            assert set(rows.get(part, {})) <= set(table.get(part, {})), f"{part} of {version}"
        file = "hooks/pins/pins.yml"
        if not git(ROOT, "ls-tree", "--name-only", commit, file):
            file = "hooks/pins.yml"  # up to 0.5.2
        distros = yaml.safe_load(git(ROOT, "show", f"{commit}:{file}"))["distros"]
        assert set(distros) <= set(pins["distros"])


@pytest.fixture
def with_shell_scripts(releases: dict[str, str], generate: Generate, tmp_path: Path) -> Path:
    """A project of the last version with ci.sh and packages.sh."""
    assert "0.5.2" in releases
    return generate(
        tmp_path / "project", hook=True, version="v0.5.2", project_kind="new", extras=["ci"]
    )


def test_who_had_changed_a_file_that_moved_is_told_where_it_is(
    with_shell_scripts: Path, in_git: InGit, capfd: pytest.CaptureFixture[str]
) -> None:
    project = with_shell_scripts
    edits = {
        "ci.sh": ("tests=(pytest)", "tests=(pytest -x)"),
        "packages.sh": ("\n\n", "\n\n# mine\n"),
        "template.sh": ("    down) engine docker compose", "    down) engine mine docker compose"),
    }
    for name, (old, new) in edits.items():
        path = project / DOCKER / name
        assert old in path.read_text(), name
        path.write_text(path.read_text().replace(old, new, 1))
    in_git(project)
    capfd.readouterr()
    update(project)
    told = capfd.readouterr().out
    for name in ("ci.sh", "packages.sh"):
        assert (project / DOCKER / name).exists()
    for name, moved in after_update.MOVED.items():
        assert moved.sentence.format(now=moved.now[0]) in told, name
    assert f"{DOCKER}/template.sh" in conflicts(project)
    (command,) = re.findall(r"git checkout --theirs .*", told)
    git(project, *command.split()[1:])
    fresh = ROOT / "template" / DOCKER / "template.sh"
    assert (project / DOCKER / "template.sh").read_bytes() == fresh.read_bytes()


def test_who_calls_a_file_that_moved_is_told_its_new_name(
    with_shell_scripts: Path, in_git: InGit, capfd: pytest.CaptureFixture[str]
) -> None:
    project = with_shell_scripts
    (project / "Makefile").write_text("check:\n\t./docker-amd64/ci.sh test\n")
    in_git(project)
    capfd.readouterr()
    update(project)
    told = capfd.readouterr().out
    assert not (project / DOCKER / "ci.sh").exists()
    assert "docker-amd64/ci.sh, which Makefile still names." in told
    assert after_update.MOVED["docker-amd64/ci.sh"].sentence in told


@pytest.mark.usefixtures("releases")
@pytest.mark.parametrize("version", ["0.5.2", released()[-1]])
def test_template_sh_of_an_older_version_still_updates(
    generate: Generate, tmp_path: Path, in_git: InGit, version: str
) -> None:
    project = generate(tmp_path / "project", hook=True, version=f"v{version}", project_kind="new")
    file = project / DOCKER / "entrypoint.sh"
    file.write_text(
        file.read_text().replace("\nset -euo pipefail\n", "\nset -euo pipefail\n# mine\n")
    )
    in_git(project)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = run(
        *(project / DOCKER / "template.sh", "update", "-y"),
        cwd=project,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert answers_of(project)["_commit"] == SNAPSHOT_TAG
    assert "\n# mine\n" in file.read_text()
    assert "nothing takes the update back" not in done.stdout
