"""CI of generated projects: what the hosts read, and the steps that need no engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.generate import after_render
from hooks.update.changes import Conflict, Plan, drop, settle
from hooks.update.changes import Project as PlanProject
from hooks.update.renderings import File
from host import ci
from host.ci_images import new_pins
from host.images import read_pins
from host.project import StopError, read_project
from tests.conftest import ROOT, Generate
from tests.support.git import git
from tests.support.workflow import SCRIPT, Step, github_steps, gitlab_steps, read
from tests.test_render import effective

BIN = Path(sys.executable).parent
WORKFLOW = ".github/workflows/image.yml"
PIPELINE = "docker-amd64/image.gitlab-ci.yml"
VALUES = {"github.repository": "Some-Body/My-Work", "github.actor": "me", "github.token": "t"}
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
# Answers that change what is rendered for CI.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"torch_version": "none", "accelerator": "cpu"},
    "existing": {"project_kind": "existing", "accelerator": "cpu"},
    "conda": {"package_manager": "conda", "accelerator": "cpu"},
    "source": {"service": "train", "pytorch_build": "source", "accelerator": "cuda"},
    "ngc": {"service": "ngc", "accelerator": "cuda"},
}
InGit = Callable[[Path], None]


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def projects(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Projects for each host, by host and kind, such as `github plain`."""
    parent = tmp_path_factory.mktemp("ci")
    return {
        f"{host} {kind}": generate(
            parent / f"{host}-{kind}",
            **{"project_kind": "new"} | KINDS[kind],
            extras=["ci"],
            ci_host=host,
        )
        for host, kind in product(("github", "gitlab"), KINDS)
    }


@pytest.fixture
def github(projects: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a project for GitHub, in no repository yet."""
    return shutil.copytree(projects["github plain"], tmp_path / "my work")


@pytest.fixture
def gitlab(projects: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a project for GitLab, in no repository yet."""
    return shutil.copytree(projects["gitlab plain"], tmp_path / "our work")


def of(projects: dict[str, Path], host: str) -> list[Path]:
    return [folder for name, folder in projects.items() if name.startswith(host)]


# --- what the hosts read -------------------------------------------------------------------------


def test_actionlint_has_nothing_to_say(projects: dict[str, Path]) -> None:
    for project in of(projects, "github"):
        result = run(BIN / "actionlint", WORKFLOW, cwd=project)
        assert (result.stdout, result.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("github.event_name", "github.evnt_name", "property"),
        ('"$GITHUB_REF_NAME"', "$GITHUB_REF_NAME", "shellcheck"),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-20.4", "label"),
        ("needs: check", "needs: chek", "chek"),
    ],
)
def test_actionlint_finds_what_it_is_for(github: Path, old: str, new: str, word: str) -> None:
    text = (github / WORKFLOW).read_text()
    assert old in text
    (github / WORKFLOW).write_text(text.replace(old, new))
    result = run(BIN / "actionlint", WORKFLOW, cwd=github)
    assert result.returncode == 1
    assert word in result.stdout


def test_each_file_follows_the_schema_of_its_reader(projects: dict[str, Path]) -> None:
    github, gitlab = of(projects, "github"), of(projects, "gitlab")
    files = {
        "renovate": [
            *(project / ".github/renovate.json" for project in github),
            *(project / ".gitlab/renovate.json" for project in gitlab),
        ],
        "github-workflows": [project / WORKFLOW for project in github],
        "gitlab-ci": [
            project / name for project in gitlab for name in (".gitlab-ci.yml", PIPELINE)
        ],
    }
    for schema, paths in files.items():
        options = ["--data-transform", "gitlab-ci"] if schema == "gitlab-ci" else []
        command = ["check-jsonschema", "--builtin-schema", f"vendor.{schema}", *options]
        result = run(BIN / command[0], *command[1:], *paths, cwd=ROOT)
        assert result.returncode == 0, result.stdout


def test_both_hosts_run_the_same_steps_in_the_same_order(projects: dict[str, Path]) -> None:
    for job in ("check", "publish"):
        there = {
            tuple(step.verb for step in github_steps(read(project / WORKFLOW), job, VALUES))
            for project in of(projects, "github")
        }
        for project in of(projects, "gitlab"):
            pipeline = read(project / PIPELINE)
            name = (
                f"{yaml.safe_load((project / '.copier-answers.yml').read_text())['project_name']}"
            )
            there.add(tuple(step.verb for step in gitlab_steps(pipeline, f"{name}:{job}")))
        assert len(there) == 1, job
        (verbs,) = there
        assert verbs[0] == ("markers" if job == "check" else "engine")
        assert verbs[-1] == "logout"


def steps(project: Path, job: str) -> list[Step]:
    return github_steps(read(project / WORKFLOW), job, VALUES)


def test_only_the_job_for_pushes_may_write_to_the_registry(github: Path) -> None:
    workflow = read(github / WORKFLOW)
    assert workflow["permissions"] == {}
    jobs = workflow["jobs"]
    assert jobs["check"]["permissions"] == {"contents": "read", "packages": "read"}
    assert jobs["publish"]["permissions"] == {"contents": "read", "packages": "write"}
    assert jobs["publish"]["if"] == "github.event_name == 'push'"
    assert jobs["publish"]["needs"] == "check"
    assert set(workflow["on"]) == {"push", "pull_request", "workflow_dispatch"}
    for job in jobs.values():
        assert job["timeout-minutes"]
        (checkout,) = (step for step in job["steps"] if "uses" in step)
        assert checkout["with"] == {"persist-credentials": False}
    assert not any("WRITE_CACHE" in step.env for step in steps(github, "check"))
    assert "publish" not in {step.verb for step in steps(github, "check")}


def test_no_text_from_outside_becomes_part_of_a_command(projects: dict[str, Path]) -> None:
    for project in of(projects, "github"):
        for job in ("check", "publish"):
            for step in steps(project, job):
                assert "${{" not in step.run
                assert step.words[0] == SCRIPT


def test_actions_and_images_are_those_of_the_pins(projects: dict[str, Path]) -> None:
    pins = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())
    assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", pins["checkout_action"])
    for project in of(projects, "github"):
        found = re.findall(r"(?m)\buses: (.*)$", (project / WORKFLOW).read_text())
        assert found == [pins["checkout_action"]] * 2
    for project in of(projects, "gitlab"):
        text = (project / PIPELINE).read_text()
        found = re.findall(r"docker:[\w.-]+", text.replace("//docker:", "//"))
        assert found == [f"{pins['docker_image']}-cli", f"{pins['docker_image']}-dind"]


# A registry that has every image, and an engine for which every build succeeds.
DOCKER_THAT_PINS = """\
#!/bin/sh
case "$*" in
    "buildx imagetools inspect --format {{{{json .Manifest}}}} "*)
        echo "$*" >>{here}/asked
        [ -e {here}/silent ] || echo '{{"digest": "sha256:{digit}{digit:0>63}"}}' ;;
    "image inspect "*) exit 1 ;;
    pull*) [ -e {here}/silent ] || echo "Digest: sha256:{digit}{digit:0>63}" ;;
esac
"""


def with_docker(project: Path, folder: Path, digit: int, *words: str) -> str:
    """What template.sh says on a machine whose registries have digests that begin so."""
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(DOCKER_THAT_PINS.format(here=folder, digit=digit))
    (folder / "docker").chmod(0o755)
    script = "docker-amd64/template.sh"
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        [script, *words],
        cwd=project,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def lines_with_images(project: Path) -> list[str]:
    """The images of the pipeline, as GitLab reads them."""
    (job,) = (
        job
        for name, job in read(project / PIPELINE).items()
        if isinstance(job, dict) and "image" in job
    )
    return [job["image"], *(service["name"] for service in job["services"])]


@pytest.fixture
def built(gitlab: Path) -> Path:
    """That project with an .env and a lock, so that `build` only builds."""
    own = f"USRID={os.getuid()}\nGRPID={os.getgid()}\n"
    example = (gitlab / "docker-amd64/.env.example").read_text()
    (gitlab / "docker-amd64/.env").write_text(example + own)
    (gitlab / "docker-amd64/dependencies/uv.lock").touch()
    return gitlab


def test_the_first_build_pins_the_images_of_ci_and_pin_renews_them(
    built: Path, tmp_path: Path, in_git: InGit
) -> None:
    pins = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())
    images = [f"{pins['docker_image']}-{kind}" for kind in ("cli", "dind")]
    assert lines_with_images(built) == images
    file = built / PIPELINE
    file.write_text(file.read_text().replace("\n", "\r\n"))
    file.chmod(0o640)
    in_git(built)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/silent").touch()
    said = with_docker(built, tmp_path / "bin", 1, "build")
    for image in (*images, pins["scanner_image"]):
        assert f"No registry tells the digest of {image}: it is not pinned.\n" in said
    # Behind a firewall, each question takes its whole time.
    assert len((tmp_path / "bin/asked").read_text().splitlines()) == 1
    assert lines_with_images(built) == images
    (tmp_path / "bin/silent").unlink()
    for digit, verb, now in ((1, "build", 1), (2, "build", 1), (2, "pin", 2)):
        said = with_docker(built, tmp_path / "bin", digit, verb)
        digest = f"@sha256:{now}{now:0>63}"
        pinned = [f"{image}{digest}" for image in images]
        assert lines_with_images(built) == pinned
        assert here_pins(built)["SCANNER_IMAGE"] == f"{pins['scanner_image']}{digest}"
        assert (pinned[0] in said) == ((digit, verb) != (2, "build"))
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")
    assert file.stat().st_mode & 0o777 == 0o640
    # CI takes only what is in git.
    in_git(built)
    assert not new_pins(read_project(built / "docker-amd64"))
    with_docker(built, tmp_path / "bin", 3, "pin")
    assert new_pins(read_project(built / "docker-amd64"))


def here_pins(project: Path) -> dict[str, str]:
    return read_pins(read_project(project / "docker-amd64"))


def test_what_lists_packages_is_no_argument_of_a_build(built: Path, tmp_path: Path) -> None:
    with_docker(built, tmp_path / "bin", 1, "pin")
    here = read_project(built / "docker-amd64")
    pins = yaml.safe_load((here.folder / "compose.pins.yaml").read_text())
    assert set(pins["x-pins"]["build"]["args"]) == {"BASE_IMAGE", "UV_IMAGE"}
    config = effective(here.folder)
    assert "SCANNER_IMAGE" not in config["services"]["publish"]["build"]["args"]
    builds = json.loads(ci.registry_file(here, "registry.example/team/work"))["services"]
    assert builds["publish"]["build"]["sbom"] == f"generator={here_pins(built)['SCANNER_IMAGE']}"


def test_a_tag_of_ones_own_in_the_pipeline_is_not_pinned(built: Path, tmp_path: Path) -> None:
    file = built / PIPELINE
    file.write_text(re.sub(r"docker:[\d.]+-dind", "docker:99-dind", file.read_text()))
    with_docker(built, tmp_path / "bin", 1, "build")
    assert lines_with_images(built)[1] == "docker:99-dind"
    assert "@sha256:" in lines_with_images(built)[0]


def test_an_update_to_other_images_of_ci_is_no_conflict_with_digests() -> None:
    def file(text: str) -> File:
        return File(text.encode())

    base = "a:\n  image: docker:1-cli\n  services:\n    - name: docker:1-dind\nend: 1\n"
    mine = base.replace("docker:1-cli", f"docker:1-cli@{DIGEST}")
    mine = mine.replace("docker:1-dind", f"docker:1-dind@{DIGEST}")
    cases = [  # ours, theirs, what becomes of them
        (mine, base.replace("docker:1", "docker:2"), base.replace("docker:1", "docker:2")),
        (mine, base.replace("end: 1", "end: 2"), mine.replace("end: 1", "end: 2")),
        (f"{mine}x: 1\n", base.replace("er:1", "er:2"), f"{base}x: 1\n".replace("er:1", "er:2")),
        (mine, None, None),
    ]
    for ours, theirs, expected in cases:
        plan = Plan()
        project = PlanProject(Path("/nowhere"), [PIPELINE])
        now = None if theirs is None else file(theirs)
        found = Conflict(PIPELINE, file(base), file(ours), now)
        if now is None:
            drop(plan, found, goes=False)
        else:
            settle(plan, project, found)
        assert not plan.conflicts
        assert plan.deletes == ([] if expected else [PIPELINE])
        assert plan.writes == ({PIPELINE: file(expected)} if expected else {})
    # A version that somebody else has chosen, with its digest, is a conflict as before.
    other = mine.replace("docker:1", "docker:9")
    plan = Plan()
    found = Conflict(PIPELINE, file(base), file(other), file(base.replace("er:1", "er:2")))
    settle(plan, PlanProject(Path("/nowhere"), [PIPELINE]), found)
    assert f"docker:9-cli@{DIGEST}".encode() in plan.writes[PIPELINE].data
    assert plan.conflicts


def test_what_runs_at_last_is_what_the_project_has(projects: dict[str, Path]) -> None:
    for name, project in projects.items():
        package = next((project / "src").iterdir()).name if (project / "src").is_dir() else ""
        runtime = ["python", "-c", f"import {package}"] if package else ["python", "-V"]
        here = read_project(project / "docker-amd64")
        assert [ci.command_for(here, image) for image in ("dev", "runtime")] == [
            ["pytest"],
            runtime,
        ], name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[test]\ndev = pytest -x -k 'a or b'\n", ["pytest", "-x", "-k", "a or b"]),
        ("[test]\ndev = bash -c 'echo 50% $HOME #'\n", ["bash", "-c", "echo 50% $HOME #"]),
        ("[test]\ndev =\n", []),
        ("[test]\ndev = pytest '\n", None),
        ("[test]\nruntime = true\n", None),
        ("dev = pytest\n", None),
        ("<<<<<<< before updating\n", None),
        (None, None),
    ],
)
def test_the_commands_of_the_tests_are_those_of_ci_ini(
    github: Path, text: str | None, words: list[str] | None
) -> None:
    here = read_project(github / "docker-amd64")
    (github / "docker-amd64/ci.ini").unlink()
    if text is not None:
        (github / "docker-amd64/ci.ini").write_text(text)
    if words is not None:
        assert ci.command_for(here, "dev") == words
    else:
        with pytest.raises(StopError) as stop:
            ci.command_for(here, "dev")
        assert stop.value.name == "ci-commands"


def test_without_ci_nothing_of_it_is_there(generate: Generate, tmp_path: Path) -> None:
    project = generate(tmp_path / "project")
    names = {str(path.relative_to(project)) for path in project.rglob("*")}
    assert not [name for name in names if re.search(r"\.git(hub|lab)|renovate|/ci\.", name)]
    readme = (project / "docker-amd64/README.md").read_text()
    assert "ci.ini" not in readme
    assert "\n## CI\n" not in readme


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_what_a_project_had_for_its_host_stays(
    generate: Generate, tmp_path: Path, host: str
) -> None:
    had = {f".{host}/renovate.json": "{}\n", ".gitlab-ci.yml": "stages: [mine]\n"}
    for name, text in had.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    project = generate(tmp_path / "project", extras=["ci"], ci_host=host)
    assert {name: (project / name).read_text() for name in had} == had


# --- markers -------------------------------------------------------------------------------------


def run_ci(project: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run("docker-amd64/template.sh", "ci", *arguments, cwd=project, env=env)


def test_a_project_without_conflicts_passes(github: Path, in_git: InGit) -> None:
    (github / "notes.rst").write_text("Title\n=======\n\n<<< and >>> are no markers\n")
    in_git(github)
    result = run_ci(github, "markers")
    assert (result.returncode, result.stderr) == (0, "No conflict was left behind.\n")


@pytest.mark.parametrize("committed", [True, False])
def test_a_conflict_marker_is_named_with_file_and_line(
    github: Path, in_git: InGit, committed: bool
) -> None:
    in_git(github)
    text = "one\n<<<<<<< before updating\nmine\n=======\ntheirs\n>>>>>>> after updating\n"
    (github / "a größe.txt").write_text(text)
    if committed:
        in_git(github)
    result = run_ci(github, "markers")
    assert result.returncode == 1
    assert "a größe.txt:2:<<<<<<< before updating\n" in result.stderr
    assert "a größe.txt:6:>>>>>>> after updating\n" in result.stderr
    assert ":4:" not in result.stderr
    assert "(failure: conflict-left)\n  Run: git status\n" in result.stderr
    (github / ".gitattributes").write_text('"a größe.txt" conflict-markers\n')
    assert run_ci(github, "markers").returncode == 0


def test_what_copier_could_not_merge_is_named(github: Path, in_git: InGit) -> None:
    in_git(github)
    (github / "docker-amd64/Dockerfile.rej").write_text("@@ -1 +1 @@\n")
    result = run_ci(github, "markers")
    assert result.returncode == 1
    assert result.stderr.startswith("docker-amd64/Dockerfile.rej: a change that did not fit\n")


def test_an_unfinished_merge_is_named(github: Path, in_git: InGit) -> None:
    in_git(github)
    branch = git(github, "branch", "--show-current").strip()
    git(github, "checkout", "--quiet", "-b", "other")
    for text in ("theirs", "mine"):
        (github / "README.md").write_text(f"{text}\n")
        in_git(github)
        git(github, "checkout", "--quiet", branch)
    git(github, "merge-base", "other", branch)
    (github / "README.md").write_text("mine\n")
    in_git(github)
    assert run("git", "merge", "--quiet", "other", cwd=github).returncode == 1
    result = run_ci(github, "markers")
    assert result.returncode == 1
    assert "README.md: not merged\n" in result.stderr


def test_outside_git_it_says_so(github: Path) -> None:
    result = run_ci(github, "markers", GIT_CEILING_DIRECTORIES=str(github.parent))
    assert result.returncode == 1
    assert "(failure: not-in-git)" in result.stderr


# --- what is refused before an engine is asked ---------------------------------------------------


@pytest.mark.parametrize("tag", ["", "v1+x", "v1/2", "$(touch x)", "ü", "v" * 129, "a b"])
def test_what_cannot_be_the_tag_of_an_image_is_refused(github: Path, tag: str) -> None:
    result = run_ci(github, "publish", tag, IMAGE="registry.example/team/work")
    assert result.returncode == 1
    assert f'"{tag}" cannot be the tag of an image' in result.stderr
    assert "(failure: image-tag)" in result.stderr
    assert not (github / "x").exists()


@pytest.mark.parametrize(
    "image", ["", "work", "a b/c", "registry.example/team/work:v1", "$(touch x)/y", "a/b'", "a/ü"]
)
def test_what_is_no_image_in_a_registry_is_refused(github: Path, image: str) -> None:
    for verb in (["publish", "v1"], ["login"]):
        result = run_ci(github, *verb, IMAGE=image)
        assert result.returncode == 1
        assert "(failure: image-variable)" in result.stderr


def test_the_name_of_a_repository_becomes_lower_case_and_passwords_are_asked_for(
    github: Path,
) -> None:
    image = steps(github, "check")[0].env["IMAGE"]
    assert image == "ghcr.io/Some-Body/My-Work"
    result = run_ci(github, "login", IMAGE=image, REGISTRY_USER="", REGISTRY_PASSWORD="")
    assert result.stderr.endswith("  Run: docker login ghcr.io\n")


def test_what_is_not_committed_is_not_published(github: Path, in_git: InGit) -> None:
    in_git(github)
    (github / "new.txt").write_text("x\n")
    result = run_ci(github, "publish", "v1", IMAGE="registry.example/team/work")
    assert result.returncode == 1
    assert "?? new.txt\n" in result.stderr
    assert "(failure: not-committed)" in result.stderr


def test_a_word_that_is_no_verb_is_refused_and_help_names_all_that_are(github: Path) -> None:
    refused = run_ci(github, "deploy")
    assert (refused.returncode, "deploy" in refused.stderr) == (1, True)
    verbs = {step.name for step in ci.STEPS}
    assert verbs == set(re.findall(r"(?m)^    ([a-z]+) ", run_ci(github).stdout))
    assert run_ci(github).returncode == 0
    manual = (ROOT / "docs/ci.md").read_text()
    assert verbs - set(re.findall(r"(?:`|template\.sh ci )([a-z]+)", manual)) == set()
    called = {step.verb for job in ("check", "publish") for step in steps(github, job)}
    assert called == verbs - {"place"}


# --- the engine of a hosted runner ---------------------------------------------------------------

DOCKER = """\
#!/bin/sh
case "$*" in
    version*) [ -e {here}/up ] || {{ touch {here}/up; exit 1; }}; echo 28.5.2 ;;
    info*) cat {here}/store ;;
    "compose version --short") echo "$FAKE_COMPOSE" ;;
    *) exit 64 ;;
esac
"""
SUDO = """\
#!/bin/sh
echo "$*" >>{here}/sudo.log
case $1 in
    cat) cat {here}/daemon.json ;;
    cp) cp "$2" {here}/daemon.json ;;
    systemctl) echo '[[driver-type io.containerd.snapshotter.v1]]' >{here}/store ;;
esac
"""


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """The environment of a hosted runner, whose Docker has the old store and starts late."""
    here = tmp_path / "runner"
    here.mkdir()
    (here / "store").write_text("[[Backing Filesystem extfs]]\n")
    (here / "daemon.json").write_text('{"exec-opts": ["a"], "features": {"cdi": true}}\n')
    for name, text in {"docker": DOCKER, "sudo": SUDO}.items():
        (here / name).write_text(text.format(here=here))
        (here / name).chmod(0o755)
    path = f"{here}:{os.environ['PATH']}"
    return {"PATH": path, "CI": "true", "FAKE_COMPOSE": "2.40.3-3", "HERE": str(here)}


def engine(project: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker-amd64/template.sh", "ci", "engine"],
        cwd=project,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_hosted_runner_gets_the_store_that_caches_and_attestations_need(
    github: Path, runner: dict[str, str]
) -> None:
    result = engine(github, {**runner, "RUNNER_ENVIRONMENT": "github-hosted"})
    assert result.returncode == 0, result.stderr
    assert result.stderr.endswith("Docker 28.5.2 and Compose 2.40.3-3 can do it.\n")
    here = Path(runner["HERE"])
    assert json.loads((here / "daemon.json").read_text()) == {
        "exec-opts": ["a"],
        "features": {"cdi": True, "containerd-snapshotter": True},
    }
    assert "systemctl restart docker\n" in (here / "sudo.log").read_text()
    (here / "sudo.log").unlink()
    assert engine(github, runner).returncode == 0
    assert not (here / "sudo.log").exists()


def test_a_machine_of_ones_own_is_left_alone_and_told_the_setting(
    github: Path, runner: dict[str, str]
) -> None:
    result = engine(github, runner)
    assert result.returncode == 1
    assert "(failure: engine-old-store)" in result.stderr
    assert '"features": {"containerd-snapshotter": true}' in result.stderr
    assert not (Path(runner["HERE"]) / "sudo.log").exists()


@pytest.mark.parametrize(
    ("version", "good"),
    [("2.38.2", False), ("v2.39.0", True), ("5.6.1", True), ("1.29.2", False), ("2.40.3-3", True)],
)
def test_a_compose_that_knows_no_attestations_is_refused(
    github: Path, runner: dict[str, str], version: str, good: bool
) -> None:
    (Path(runner["HERE"]) / "store").write_text("io.containerd.snapshotter.v1\n")
    result = engine(github, {**runner, "FAKE_COMPOSE": version})
    assert result.returncode == (0 if good else 1)
    assert ("(failure: compose-too-old)" in result.stderr) != good


# --- a project below the root of its repository --------------------------------------------------


@pytest.mark.parametrize("folder", ["work", "a/b c/it's", "größe & mehr"])
def test_a_workflow_is_placed_in_the_root_for_its_folder(
    github: Path, tmp_path: Path, in_git: InGit, folder: str
) -> None:
    repository = tmp_path / "all"
    project = repository / folder
    shutil.copytree(github, project)
    in_git(repository)
    result = run_ci(project, "place")
    assert result.returncode == 0, result.stderr
    (placed,) = (repository / ".github/workflows").iterdir()
    workflow, own = read(placed), read(project / WORKFLOW)
    assert workflow["env"]["PROJECT"] == folder
    assert (repository / workflow["env"]["PROJECT"] / SCRIPT).is_file()
    assert workflow["env"]["IMAGE"] == f"{own['env']['IMAGE']}/github-plain"
    assert workflow["name"] == "image github-plain"
    assert workflow["jobs"] == own["jobs"]
    assert run(BIN / "actionlint", cwd=repository).stdout == ""
    renovate = ".github/renovate.json"
    assert (repository / renovate).read_text() == (project / renovate).read_text()
    # Again, after an update: the new one takes the place of the old one, and of nothing else.
    text = (project / WORKFLOW).read_text()
    (project / WORKFLOW).write_text(text.replace("minutes: 90", "minutes: 80"))
    (repository / renovate).write_text("{}\n")
    assert run_ci(project, "place").returncode == 0
    assert read(placed)["jobs"]["check"]["timeout-minutes"] == 80
    assert (repository / renovate).read_text() == "{}\n"
    placed.write_text("name: mine\n")
    result = run_ci(project, "place")
    assert result.returncode == 1
    assert "(failure: workflow-not-ours)" in result.stderr
    assert placed.read_text() == "name: mine\n"


def test_a_pipeline_is_placed_and_included_once(
    gitlab: Path, tmp_path: Path, in_git: InGit
) -> None:
    repository = tmp_path / "all"
    project = repository / "team/work"
    shutil.copytree(gitlab, project)
    in_git(repository)
    for _ in range(2):
        assert run_ci(project, "place").returncode == 0
    target = ".gitlab/image-team-work.gitlab-ci.yml"
    assert read(repository / ".gitlab-ci.yml") == {"include": [{"local": target}]}
    variables = read(repository / target)[".gitlab-plain"]["variables"]
    assert variables["PROJECT"] == "team/work"
    assert variables["IMAGE"] == "$CI_REGISTRY_IMAGE/gitlab-plain"
    (repository / ".gitlab-ci.yml").write_text("stages: [mine]\n")
    result = run_ci(project, "place")
    assert result.returncode == 1
    assert f'the line "- local: {target}". (failure: pipeline-not-included)' in result.stderr
    assert (repository / ".gitlab-ci.yml").read_text() == "stages: [mine]\n"


def test_in_the_root_there_is_nothing_to_place(github: Path, gitlab: Path, in_git: InGit) -> None:
    for project in (github, gitlab):
        in_git(project)
        assert run_ci(project, "place").returncode == 0
        assert git(project, "status", "--porcelain") == ""


def test_the_hook_says_where_the_host_finds_nothing(
    github: Path, gitlab: Path, tmp_path: Path, in_git: InGit
) -> None:
    told = "reads workflows only in the repository's root. Run, now and after each update: "
    for project, host in ((github, "GitHub"), (gitlab, "GitLab")):
        in_git(project)
        assert after_render.ci_lines(project) == []
        below = tmp_path / host / "work"
        shutil.copytree(project, below, ignore=shutil.ignore_patterns(".git"))
        in_git(below.parent)
        assert after_render.ci_lines(below) == [f"{host} {told}./docker-amd64/template.sh ci place"]
    (gitlab / ".gitlab-ci.yml").write_text("stages: [mine]\n")
    assert after_render.ci_lines(gitlab) == [f"GitLab {told}./docker-amd64/template.sh ci place"]
    (github / "renovate.json5").write_text("{}\n")
    assert after_render.ci_lines(github) == [
        "Renovate reads renovate.json5 only, not .github/renovate.json."
    ]


# --- Renovate ------------------------------------------------------------------------------------


def renovate(project: Path) -> dict[str, Any]:
    (path,) = project.glob(".git*/renovate.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def python_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of Renovate for Python's re, which has another mark for named groups."""
    return re.compile(pattern.replace("(?<", "(?P<"))


PINNER = f"""\
#!/bin/sh
case "$*" in
    "image inspect"*) exit 1 ;;
    pull*) echo "Digest: {DIGEST}" ;;
esac
"""


@pytest.mark.parametrize("kind", KINDS)
def test_renovate_finds_the_digests_that_the_project_pins(
    projects: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    project = shutil.copytree(projects[f"github {kind}"], tmp_path / "project")
    (tmp_path / "docker").write_text(PINNER)
    (tmp_path / "docker").chmod(0o755)
    described = project / "docker-amd64/host/project.json"
    data = json.loads(described.read_text())
    if kind == "plain":  # a registry with a port, too
        data["base_images"]["UV_IMAGE"] = f"127.0.0.1:5000/{data['base_images']['UV_IMAGE']}"
        described.write_text(json.dumps(data))
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["docker-amd64/template.sh", "pin"]
    subprocess.run(command, cwd=project, env=env, check=True, capture_output=True, timeout=240)

    manager = renovate(project)["customManagers"][0]
    (files,), (match,) = manager["managerFilePatterns"], manager["matchStrings"]
    pins = project / "docker-amd64/compose.pins.yaml"
    for folder in ("", "team/work/"):
        assert python_pattern(files.strip("/")).search(f"{folder}docker-amd64/{pins.name}")
    found = [groups.groupdict() for groups in python_pattern(match).finditer(pins.read_text())]
    assert len(found) > 1
    assert found == [
        {"depName": name, "currentValue": tag, "currentDigest": DIGEST}
        for name, _, tag in (
            image.rpartition(":")
            for image in (*data["base_images"].values(), data["ci_images"]["scanner"])
        )
    ]


def test_renovate_leaves_alone_what_the_template_decides(projects: dict[str, Path]) -> None:
    for name, project in projects.items():
        settings = renovate(project)
        assert settings["copier"]["enabled"] is False
        off = [rule for rule in settings["packageRules"] if rule.get("enabled") is False]
        managers = [rule["matchManagers"] for rule in off if "matchManagers" in rule]
        assert managers == [["dockerfile", "docker-compose"]]
        tags = [rule for rule in off if rule.get("matchUpdateTypes") == ["major", "minor", "patch"]]
        assert [rule["matchFileNames"] for rule in tags] == [["**/docker-amd64/compose.pins.yaml"]]
        pip = (project / "docker-amd64/dependencies/pyproject.toml").exists()
        own = [rule for rule in off if "pyproject" in str(rule["matchFileNames"])]
        assert len(own) == pip, name
        assert ("pep621" in settings) == (pip and not name.endswith("ngc"))
        if pip:
            packages = own[0].get("matchPackageNames")
            torch = name.split()[1] in ("existing", "source")
            expected = ["python", "torch", "triton"] if torch else ["python"]
            assert packages == (None if name.endswith("ngc") else expected)
