"""`copier update`: a person's work survives, the template's news arrive, .env keeps its values."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy

from host.env_file import GONE, read_env, set_keys
from tests.conftest import ROOT, SNAPSHOT_TAG, Generate, InGit
from tests.fakes.machine import environment
from tests.support.git import git
from tests.support.updates import NEWER_TAG, conflicts, release, replace
from tests.support.updates import update_by_copier as update


def log_hook_runs(template: Path, log: Path) -> None:
    """Make the template's hook write down in which folder it runs."""
    main = 'if __name__ == "__main__":\n'
    tell = f"    with open({str(log)!r}, 'a') as log:\n        print(Path.cwd(), file=log)\n"
    replace(template / "hooks/post_generate.py", main, main + tell)


def test_updating_to_the_same_version_changes_nothing(project: Path) -> None:
    env = (project / "docker-amd64/.env").read_text()
    update(project)
    assert git(project, "status", "--porcelain") == ""
    assert (project / "docker-amd64/.env").read_text() == env


def test_a_persons_work_and_the_templates_news_both_survive_an_update(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    docker = project / "docker-amd64"
    replace(docker / "Dockerfile", "FROM os AS base\n", "FROM os AS base\nENV MINE=1\n")
    replace(
        docker / "dependencies/pyproject.toml",
        "dependencies = []\n",
        'dependencies = [\n    "einops>=0.8",\n    "pandas",\n]\n',
    )
    replace(docker / "dependencies/apt-dev.txt", "htop\n", "htop\nnvtop\n")
    env = re.sub("(?m)^SHM_SIZE=.*$", "SHM_SIZE=3gb", (docker / ".env").read_text())
    (docker / ".env").write_text(f"{env.replace('CPUS=', 'CPUS=4')}MY_OWN_KEY='a b'\n")
    (docker / ".env.bak").write_text("Mine.\n")
    (docker / "pre-run.sh").write_text("echo mine\n")
    (docker / "compose.ca.yaml").unlink()
    in_git(project)

    source = own_template / "template/docker-amd64"
    replace(
        source / "Dockerfile.jinja", "\nFROM base AS publish\n", "\n# News.\nFROM base AS publish\n"
    )
    pyproject = source / "dependencies/pyproject.toml.jinja"
    replace(pyproject, "[tool.uv]\n", "[tool.uv]\n# News.\n")
    replace(
        source / "dependencies/apt-dev.txt.jinja", "bash-completion\n", "bash-completion\nfile\n"
    )
    replace(source / "compose.ca.yaml.jinja", "# Override file", "# News: override file")
    example = source / ".env.example.jinja"
    replace(example, "# Shared memory", "# News.\nNEW_KEY=7\n\n# Shared")
    replace(example, "PIDS_LIMIT=16384\n", "")
    replace(example, "CPUS=\n", "")
    release(own_template)
    update(project)

    assert conflicts(project) == ""
    assert not list(project.rglob("*.rej"))
    dockerfile = (docker / "Dockerfile").read_text()
    assert "ENV MINE=1\n" in dockerfile
    assert "# News.\n" in dockerfile
    dependencies = (docker / "dependencies/pyproject.toml").read_text()
    assert '    "einops>=0.8",\n    "pandas",\n' in dependencies
    assert "# News.\n" in dependencies
    assert {"nvtop", "file"} <= set((docker / "dependencies/apt-dev.txt").read_text().split())
    assert (docker / "pre-run.sh").read_text() == "echo mine\n"
    assert not (docker / "compose.ca.yaml").exists()
    assert (docker / ".env.bak").read_text() == "Mine.\n"
    lines = (docker / ".env").read_text().splitlines()
    assert {"SHM_SIZE=3gb", "MY_OWN_KEY='a b'", "NEW_KEY=7", GONE, "CPUS=4"} <= set(lines)
    assert not [line for line in lines if line.startswith(("PIDS_LIMIT=", "# Shared memory"))]
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["_commit"] == NEWER_TAG


def test_a_change_of_the_same_lines_is_left_to_the_person_and_shown(
    own_template: Path, project: Path, in_git: InGit
) -> None:
    name = "docker-amd64/entrypoint.sh"
    line = (project / name).read_text().splitlines()[1]
    replace(project / name, line, "# mine")
    in_git(project)
    replace(own_template / f"template/{name}.jinja", line, "# news")
    release(own_template)
    update(project)
    assert name in conflicts(project)


def test_the_hook_runs_once_in_a_copy_and_once_in_an_update(
    own_template: Path, tmp_path: Path, in_git: InGit
) -> None:
    log, project = tmp_path / "log", tmp_path / "project"
    log_hook_runs(own_template, log)
    git(own_template, "commit", "--quiet", "--all", "--message", "a hook that tells")
    git(own_template, "tag", "--force", SNAPSHOT_TAG)
    run_copy(str(own_template), project, defaults=True, quiet=True, unsafe=True)
    assert log.read_text() == f"{project}\n"
    in_git(project)
    update(project)
    assert log.read_text() == f"{project}\n" * 2


def test_a_hook_that_breaks_spoils_no_update(own_template: Path, project: Path) -> None:
    broken = "def run(*_, **__):\n    return 1 / 0\n\n\ndef _("
    replace(own_template / "hooks/generate/after_render.py", "def run(", broken)
    replace(
        own_template / "template/docker-amd64/dependencies/apt-dev.txt.jinja", "htop\n", "btop\n"
    )
    release(own_template)
    before = (project / "docker-amd64/.env").read_bytes()
    update(project)
    assert git(project, "diff", "--name-only").split() == [
        ".copier-answers.yml",
        "docker-amd64/dependencies/apt-dev.txt",
    ]
    assert (project / "docker-amd64/.env").read_bytes() == before


def test_an_app_of_ones_own_and_one_of_another_choice_are_no_conflict(
    project: Path, in_git: InGit
) -> None:
    update(project, extras=["jupyter"])
    path = project / "docker-amd64/apps.ini"
    path.write_text(f"{path.read_text()}\n[own]\ncommand = serve\nport = 9000\n")
    in_git(project)
    update(project, extras=["jupyter", "tensorboard"])
    assert conflicts(project) == ""
    config = RawConfigParser()
    config.read(path)
    assert {*config.sections()} == {"jupyter", "tensorboard", "own"}


def test_what_a_site_decides_is_kept_while_its_clusters_change(
    project: Path, in_git: InGit
) -> None:
    assert not (project / "docker-amd64/deploy").exists()
    update(project, clusters=["slurm"])
    path = project / "docker-amd64/deploy/site.toml"
    replace(path, '\npartition = ""\n', '\npartition = "gpu"\n')
    replace(path, "\nannotations = {}\n", '\nannotations = { "com.hooks.cxi.enabled" = "true" }\n')
    replace(path, "\n[environment]\n", '\n[environment]\nHF_HOME = "/scratch/hf"\n')
    replace(path, "\n# --- Examples", "\n# Ours.\n\n# --- Examples")
    job = path.parent / "slurm/jobs/job-1/job.sh"
    job.parent.mkdir()
    job.write_text("#!/bin/bash\n")
    in_git(project)
    assert git(project, "status", "--porcelain") == ""
    update(project, clusters=["slurm", "kubernetes"])
    assert conflicts(project) == ""
    text = path.read_text()
    for kept in ('\npartition = "gpu"\n', "com.hooks.cxi", "\nHF_HOME = ", "\n# Ours.\n"):
        assert kept in text
    assert "\n[kubernetes]\n" in text
    in_git(project)
    update(project, clusters=[])
    assert path.read_text() == text
    assert job.is_file()
    assert not (project / "docker-amd64/host/clusters").exists()


def test_another_torch_version_keeps_a_persons_dependencies(project: Path, in_git: InGit) -> None:
    path = project / "docker-amd64/dependencies/pyproject.toml"
    replace(path, "dependencies = []\n", 'dependencies = [\n    "einops>=0.8",\n    "pandas",\n]\n')
    replace(path, '    "ruff",\n', '    "ruff",\n    "mypy",\n')
    in_git(project)
    update(project, torch_version="2.8.0")
    assert conflicts(project) == ""
    text = path.read_text()
    assert '    "einops>=0.8",\n    "pandas",\n' in text
    assert '    "mypy",\n' in text
    assert '"torch==2.8.0"' in text
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["torch_version"] == "2.8.0"


def test_a_changed_answer_reaches_env_unless_the_user_had_changed_it(
    generate: Generate, tmp_path: Path, in_git: InGit, capfd: pytest.CaptureFixture[str]
) -> None:
    data = {"project_kind": "existing", "accelerator": "cuda", "cca": "7.5 8.6+PTX"}
    project = generate(tmp_path / "project", hook=True, **data, code_dir="src")
    env = project / "docker-amd64/.env"
    in_git(project)
    capfd.readouterr()
    update(project, cca="9.0", code_dir="my code")
    told = capfd.readouterr().out
    settings = read_env(env.read_text())
    assert (settings["CCA"], settings["LOCAL_CODE_DIR"]) == ("9.0", "../my code")
    assert "CCA: 7.5 8.6+PTX became 9.0, as the answers now say." in told
    assert "LOCAL_CODE_DIR: ../src became ../my code, as the answers now say." in told
    in_git(project)
    set_keys(env.parent, ["LOCAL_CODE_DIR=/elsewhere"])
    update(project, code_dir="other")
    assert read_env(env.read_text())["LOCAL_CODE_DIR"] == "/elsewhere"
    assert "LOCAL_CODE_DIR: .env says /elsewhere, the answers now say ../other; kept." in (
        capfd.readouterr().out
    )


def test_the_command_that_the_hook_prints_can_be_pasted_and_changes_the_answers(
    template: Path, tmp_path: Path, in_git: InGit
) -> None:
    project, answers = tmp_path / "project", ".copier-answers.hearth.yml"
    scripts = str(Path(sys.executable).parent)
    machine = environment(tmp_path / "bin", nvml="rtx4090") | {
        key: value for key, value in os.environ.items() if key.startswith(("COPIER_", "GIT_"))
    }
    machine["PATH"] = os.pathsep.join([machine["PATH"], scripts, os.environ["PATH"]])
    data = ["--data", "accelerator=cuda", "--data", "torch_version=2.11.0"]
    data += ["--data", "cuda_version=13.0", "-a", answers]
    copy = ["copier", "copy", "--trust", "--defaults", "--vcs-ref", SNAPSHOT_TAG, *data]
    said = subprocess.run(
        [*copy, str(template), str(project)],
        env=machine,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    in_git(project)
    (command,) = re.findall("(?m)^To change it, once the project is committed: (.*)$", said.stdout)
    subprocess.run(
        ["bash", "-c", command], cwd=project, env=machine, capture_output=True, check=True
    )
    assert conflicts(project) == ""
    recorded = yaml.safe_load((project / answers).read_text())
    assert f"--data cuda_version={recorded['cuda_version']}" in command
    assert (recorded["torch_version"], recorded["cuda_version"]) == ("2.11.0", "12.9")
    assert not (project / ".copier-answers.yml").exists()


def test_changing_an_answer_there_and_back_leaves_nothing_behind(
    project: Path, in_git: InGit
) -> None:
    update(project, torch_version="none")
    assert "torch" not in (project / "docker-amd64/Dockerfile").read_text()
    in_git(project)
    recorded = git(project, "show", "HEAD~1:.copier-answers.yml")
    before = yaml.safe_load(recorded)
    update(project, **{name: before[name] for name in ("torch_version", "jit")})
    in_git(project)
    # Copier writes an answer that comes back behind those that stayed.
    after = (project / ".copier-answers.yml").read_text()
    assert sorted(after.splitlines()) == sorted(recorded.splitlines())
    assert git(project, "diff", "--name-only", "HEAD~2", "HEAD", "--", ".", ":!.copier-*") == ""


def test_an_update_without_tasks_needs_no_trust_when_it_is_a_recopy(
    project: Path, own_template: Path
) -> None:
    replace(
        own_template / "template/docker-amd64/dependencies/apt-dev.txt.jinja", "htop\n", "btop\n"
    )
    release(own_template)
    arguments = ["recopy", "--defaults", "--skip-tasks", "--overwrite", "--quiet"]
    result = subprocess.run([sys.executable, "-m", "copier", *arguments], cwd=project, check=False)
    assert result.returncode == 0
    assert "btop" in (project / "docker-amd64/dependencies/apt-dev.txt").read_text()


def test_another_service_is_a_fresh_copy_of_it_with_the_persons_dependencies(
    tmp_path: Path, in_git: InGit, generate: Generate
) -> None:
    project = generate(tmp_path / "project", service="simple", accelerator="cuda")
    dependencies = "docker-amd64/dependencies/pyproject.toml"
    apt = "docker-amd64/dependencies/apt-runtime.txt"
    in_git(project)
    replace(project / dependencies, "dependencies = []\n", 'dependencies = ["einops>=0.8"]\n')
    replace(project / apt, "tzdata\n", "tzdata\nlibgl1\n")
    in_git(project)
    for service in ("ngc", "train", "hub", "devel", "simple"):
        update(project, service=service)
        assert conflicts(project) == "", service
        assert "einops>=0.8" in (project / dependencies).read_text(), service
        assert "libgl1\n" in (project / apt).read_text(), service
        kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
        fresh = generate(tmp_path / service / "project", **kept)
        for path in filter(Path.is_file, fresh.rglob("*")):
            name = str(path.relative_to(fresh))
            if name not in (dependencies, apt, ".copier-answers.yml"):
                assert (project / name).read_text() == path.read_text(), f"{service}: {name}"
        in_git(project)


def differences(project: Path, fresh: Path) -> set[str]:
    """The files of a fresh copy that a project has with other content, or does not have."""
    paths = {str(path.relative_to(fresh)): path for path in fresh.rglob("*") if path.is_file()}
    return {
        name
        for name, path in paths.items()
        if not (project / name).exists() or (project / name).read_text() != path.read_text()
    }


def test_another_package_manager_is_a_fresh_copy_of_it_with_the_persons_dependencies(
    tmp_path: Path, in_git: InGit, generate: Generate, capfd: pytest.CaptureFixture[str]
) -> None:
    project = generate(tmp_path / "project", hook=True, service="train", accelerator="cuda")
    docker = project / "docker-amd64"
    dependencies = docker / "dependencies"
    apt = "docker-amd64/dependencies/apt-runtime.txt"
    replace(
        dependencies / "pyproject.toml",
        "dependencies = []\n",
        'dependencies = ["einops>=0.8", "torchvision==0.1"]\n',
    )
    (dependencies / "uv.lock").write_text("# a lock\n")
    replace(project / apt, "tzdata\n", "tzdata\nlibgl1\n")
    set_keys(docker, ["SHM_SIZE=3gb", "MY_OWN_KEY=1"])
    in_git(project)
    capfd.readouterr()

    update(project, package_manager="conda")
    told = capfd.readouterr().out
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    fresh = generate(tmp_path / "conda/project", **kept)
    assert conflicts(project) == ""
    assert differences(project, fresh) == {apt, "docker-amd64/dependencies/environment.yml"}
    yours = (dependencies / "environment.yml").read_text().partition("  # Yours:\n")[2]
    assert yours == "  - torchvision\n  - pip:\n      - einops>=0.8\n"
    assert "torchvision==0.1: left to conda, whose build matches its PyTorch." in told
    commit = git(project, "rev-parse", "--short", "HEAD").strip()
    assert f"git show {commit}:./docker-amd64/dependencies/pyproject.toml" in told
    assert " D docker-amd64/dependencies/uv.lock" in git(project, "status", "--porcelain")
    env = (docker / ".env").read_text()
    assert {"SHM_SIZE=3gb", "MY_OWN_KEY=1", "# CONDA_AUTH_FILE="} <= set(env.splitlines())
    assert "\n# MICROMAMBA_IMAGE=mambaorg/micromamba:" in env

    # Back, with packages of conda that were locked meanwhile, one of them no package of Python.
    replace(dependencies / "environment.yml", "  - torchvision\n", "  - scipy=1.15\n  - ffmpeg\n")
    builds = ("scipy-1.15.0-py312h0_0", "ffmpeg-7.1-gpl_h0")
    lines = [f"https://conda.anaconda.org/conda-forge/linux-64/{name}.conda" for name in builds]
    (dependencies / "conda.lock").write_text(
        "@EXPLICIT\n" + "".join(f"{x}#sha256:0\n" for x in lines)
    )
    (dependencies / "pip.lock").write_text("# a lock\n")
    in_git(project)
    update(project, package_manager="pip")
    told = capfd.readouterr().out
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    fresh = generate(tmp_path / "pip/project", **kept)
    assert conflicts(project) == ""
    assert differences(project, fresh) == {apt, "docker-amd64/dependencies/pyproject.toml"}
    assert "ffmpeg: left out, as it is no Python package" in told
    text = (dependencies / "pyproject.toml").read_text()
    assert '    "scipy==1.15.*",\n    "einops>=0.8",\n' in text
    assert {path.name for path in dependencies.iterdir()} == {
        path.name for path in (fresh / "docker-amd64/dependencies").iterdir()
    }


def test_the_answer_of_a_renamed_question_is_kept(
    own_template: Path, tmp_path: Path, generate: Generate, in_git: InGit
) -> None:
    project = tmp_path / "project"
    answer: dict[str, Any] = {"linux_distro": "debian-12"}
    run_copy(str(own_template), project, data=answer, defaults=True, quiet=True, unsafe=True)
    in_git(project)
    fresh = generate(tmp_path / "fresh/project", **answer)
    for path in [own_template / "copier.yml", *(own_template / "template").rglob("*.jinja")]:
        path.write_text(path.read_text().replace("linux_distro", "distribution_id"))
    # As docs/developing.md shows it.
    (shown,) = re.findall(
        r"(?ms)^    _migrations:\n(.*?)^\S", (ROOT / "docs/developing.md").read_text()
    )
    migration = shown.replace("OLD", "linux_distro").replace("NEW", "distribution_id")
    migration = re.sub("(?m)^    ", "", migration).replace("vX.Y.Z", NEWER_TAG)
    replace(own_template / "copier.yml", "_migrations:\n", f"_migrations:\n{migration}")
    release(own_template)
    update(project)
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["distribution_id"] == "debian-12"
    assert "linux_distro" not in answers
    name = "docker-amd64/Dockerfile"
    assert (project / name).read_text() == (fresh / name).read_text()


def test_an_answer_that_is_no_choice_any_more_is_not_replaced_in_silence(
    own_template: Path, tmp_path: Path, in_git: InGit, capfd: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    answer = {"linux_distro": "debian-12"}
    run_copy(str(own_template), project, data=answer, defaults=True, quiet=True, unsafe=True)
    in_git(project)
    pins = own_template / "hooks/pins/pins.yml"
    pins.write_text(re.sub('(?m)^  "debian-12": .*\n', "", pins.read_text()))
    release(own_template)
    update(project)
    assert "Answers: linux_distro was debian-12, is ubuntu-24.04." in capfd.readouterr().out


@pytest.mark.parametrize(
    "case",
    [
        ("README.md.jinja", "\n\n", "\n\nNews.\n\n", "No image has to be rebuilt."),
        ("entrypoint.sh.jinja", "\n\n", "\n\n# News.\n\n", "rebuilt: entrypoint.sh changed."),
        ("compose.yaml.jinja", "  init: true", "  init: false", "template.sh up applies the new"),
        ("compose.yaml.jinja", "target: dev\n", "target: base\n", "rebuilt: compose.yaml"),
    ],
)
def test_an_update_says_whether_an_image_has_to_be_built_again(
    own_template: Path,
    project: Path,
    capfd: pytest.CaptureFixture[str],
    case: tuple[str, str, str, str],
) -> None:
    file, old, new, told = case
    path = own_template / "template/docker-amd64" / file
    path.write_text(path.read_text().replace(old, new, 1))
    release(own_template)
    capfd.readouterr()
    update(project)
    assert told in capfd.readouterr().out
