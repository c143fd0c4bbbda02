"""The hook, run as Copier runs it: a process in the project's root folder that always exits 0."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml

from hooks import matcher as match
from hooks import post_generate
from hooks.generate import after_render
from host import ask, fill
from host.env_file import read_env
from host.facts import Engine, Facts
from host.gpu_facts import Access, Gpu, GpuFacts, Mig
from tests.conftest import Generate
from tests.fakes.machine import environment
from tests.support.program import put_program, run_program

HOOK = Path(post_generate.__file__)
EXAMPLE = """\
USRID=1000
CPU_OR_GPU=cpu
GPU_IDS=
LOCAL_DATA_DIR=../data
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as Copier leaves it before the hook."""
    folder = tmp_path / "my project"
    (folder / "docker-amd64").mkdir(parents=True)
    (folder / "docker-amd64" / ".env.example").write_text(EXAMPLE)
    return folder


def run(
    project: Path, env: dict[str, str], *args: str, hook: Path = HOOK, code: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", *(["-c", code] if code else [str(hook), *(args or ["--no-ask"])])],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=False,
    )


def python_of(project: Path) -> str:
    return str(yaml.safe_load((project / ".copier-answers.yml").read_text())["python_version"])


def env_of(project: Path) -> dict[str, str]:
    return read_env((project / "docker-amd64" / ".env").read_text())


def test_a_new_project_gets_its_env_and_a_short_summary(project: Path, tmp_path: Path) -> None:
    result = run(project, environment(tmp_path / "bin", nvml="mixed", engine="nvidia"))
    assert (result.returncode, result.stderr) == (0, "")
    assert env_of(project)["CPU_OR_GPU"] == "gpu"
    assert len(env_of(project)["GPU_IDS"].split(",")) == 2
    assert (project / "data").is_dir()
    assert len(result.stdout.splitlines()) <= 10
    for part in ("Docker Engine 28.5.2", "RTX 4090, Tesla V100", "driver 550.54.15 (CUDA 12.4)"):
        assert part in result.stdout
    assert result.stdout.splitlines()[-1] == "Next: ./docker-amd64/template.sh build dev"


def test_an_update_keeps_what_the_user_wrote(project: Path, tmp_path: Path) -> None:
    (project / "docker-amd64" / ".env").write_text("TOKEN='a b'\nGPU_IDS=GPU-mine\n")
    result = run(project, environment(tmp_path / "bin", nvml="mixed"), "--ask")
    assert result.returncode == 0
    assert (env_of(project)["TOKEN"], env_of(project)["GPU_IDS"]) == ("a b", "GPU-mine")
    assert "GPU_IDS: .env says GPU-mine" in result.stdout


def test_many_differences_do_not_flood_the_screen(project: Path, tmp_path: Path) -> None:
    keys = ("USRID", "GRPID", "USR", "GRP", "SHM_SIZE", "TZ", "GPU_IDS", "CPU_OR_GPU")
    text = "".join(f"{key}=other\n" for key in keys)
    (project / "docker-amd64" / ".env.example").write_text(text)
    (project / "docker-amd64" / ".env").write_text(text)
    result = run(project, environment(tmp_path / "bin", engine="daemon-down"))
    assert len(result.stdout.splitlines()) <= 10
    assert "more. To see all: ./docker-amd64/template.sh env" in result.stdout


def test_a_machine_in_trouble_is_told_one_command_that_helps(project: Path, tmp_path: Path) -> None:
    result = run(project, environment(tmp_path / "bin", engine="no-permission", nvml="mismatch"))
    assert result.returncode == 0
    assert "Run: sudo usermod -aG docker" in result.stdout
    assert "GPU: none (the NVIDIA driver in the kernel and its library differ" in result.stdout


def test_the_way_into_a_new_project_is_shown(project: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "bin") | {"PWD": str(tmp_path)}
    last = run(project, env).stdout.splitlines()[-1]
    assert last == "Next: cd 'my project' && ./docker-amd64/template.sh build dev"


def test_a_path_that_climbs_far_is_shown_from_the_root(project: Path, tmp_path: Path) -> None:
    shell_folder = tmp_path / "a/b"
    shell_folder.mkdir(parents=True)
    env = with_git(tmp_path, shell_folder)
    told = run(project, env, "--no-ask", f"--by-default={TAKEN}").stdout
    assert "../.." not in told
    assert told.splitlines()[-1].startswith(f"Next: cd '{project}' && ")
    assert f": '{project}/docker-amd64/template.sh' update --data " in told


def test_nothing_is_asked_without_a_terminal(project: Path, tmp_path: Path) -> None:
    result = run(project, environment(tmp_path / "bin", nvml="h200x8"), "--ask")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(env_of(project)["GPU_IDS"].split(",")) == 8
    assert "8 x NVIDIA H200" in result.stdout


# ----------------------------------------------------------------- nobody answered; no git around

TAKEN = "project_kind=new, service=simple, accelerator=cpu, package_manager=pip"


def with_git(tmp_path: Path, shell_folder: Path) -> dict[str, str]:
    """A machine that has git, and a person's shell in a folder."""
    env = environment(tmp_path / "bin") | {"PWD": str(shell_folder)}
    (tmp_path / "bin/git").symlink_to(shutil.which("git") or "/usr/bin/git")
    return env


def test_answers_taken_by_default_are_said_with_the_command_that_changes_one(
    project: Path, tmp_path: Path
) -> None:
    env = with_git(tmp_path, tmp_path)
    lines = run(project, env, "--no-ask", f"--by-default={TAKEN}").stdout.splitlines()
    assert len(lines) <= 12
    assert f"Answers taken by default (all are in .copier-answers.yml): {TAKEN}." in lines
    (change,) = [line for line in lines if line.startswith("To change one")]
    assert change.endswith(
        ": './my project/docker-amd64/template.sh' update --data accelerator=cuda"
    )
    again = run(project, env, "--no-ask", f"--by-default={TAKEN}").stdout
    assert "by default" not in again  # a copy over a project takes the answers that it has
    assert "begin with git" not in again


@pytest.mark.parametrize(
    ("taken", "example"),
    [
        ("service=simple, accelerator=cuda", "service=train"),
        ("accelerator=cuda, package_manager=pip", "package_manager=conda"),
        ("python_version=3.12, linux_distro=ubuntu-24.04", "python_version=3.11"),
    ],
)
def test_the_example_is_another_answer_than_the_one_that_was_taken(
    project: Path, tmp_path: Path, taken: str, example: str
) -> None:
    lines = run(project, with_git(tmp_path, project), f"--by-default={taken}").stdout.splitlines()
    assert [line for line in lines if line.endswith(f"template.sh update --data {example}")]


def test_where_the_questions_were_seen_no_answer_is_said_again(
    project: Path, tmp_path: Path
) -> None:
    told = run(project, with_git(tmp_path, project), "--ask", "--by-default=").stdout
    assert "To put the project into git: git init && " in told
    assert "by default" not in told
    assert "template.sh update" not in told


def test_a_choice_that_fails_has_the_one_command_that_changes_answers(
    project: Path, tmp_path: Path
) -> None:
    taken = "service=simple, accelerator=cuda, torch_version=2.15.0, cuda_version=13.2"
    lines = said(project, tmp_path, "mixed", *answers("2.15.0", "13.2"), f"--by-default={taken}")
    assert len([line for line in lines if "template.sh update" in line]) == 1
    assert len(lines) <= 12


@pytest.mark.parametrize(
    ("ignored", "committed"),
    [
        (True, ["--all"]),
        (False, ["docker-amd64", ".copier-answers.yml"]),
    ],
    ids=["new", "code that was there"],
)
def test_the_command_that_begins_with_git_works_as_it_is_printed(
    project: Path, tmp_path: Path, ignored: bool, committed: list[str]
) -> None:
    (project / ".copier-answers.yml").write_text("service: simple\n")
    (project / "weights.bin").write_text("large")
    if ignored:
        (project / ".gitignore").write_text("weights.bin\n.env\n")
    env = with_git(tmp_path, tmp_path)
    lines = run(project, env).stdout.splitlines()
    (command,) = [line.partition(": ")[2] for line in lines if line.startswith("To put ")]
    assert f" add {' '.join(committed)} && " in command
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    names = subprocess.run(
        ["git", "ls-files"], cwd=project, check=True, capture_output=True, text=True
    ).stdout.split()
    assert {".copier-answers.yml", "docker-amd64/.env.example"} <= {*names}
    assert "weights.bin" not in names


@pytest.mark.parametrize("place", [".", ".."])
def test_in_a_repository_nobody_is_told_to_begin_one(
    project: Path, tmp_path: Path, place: str
) -> None:
    (project / place / ".git").mkdir()
    told = run(project, with_git(tmp_path, project)).stdout
    assert "begin with git" not in told
    assert told.splitlines()[-1] == "Next: ./docker-amd64/template.sh build dev"


# ------------------------------------------------------------------------- whatever happens, exit 0


def test_a_file_that_the_users_rules_ignore_is_named_with_the_line_that_keeps_it(
    project: Path, tmp_path: Path
) -> None:
    (project / ".copier-answers.yml").write_text("project_kind: existing\n")
    (project / ".gitignore").write_text(".env*\n")
    env = with_git(tmp_path, project) | {"PWD": str(tmp_path)}
    (line,) = [line for line in run(project, env).stdout.splitlines() if "ignores" in line]
    assert line.startswith("git ignores docker-amd64/.env.example (rule .env* of .gitignore), ")
    assert line.endswith(" '!/docker-amd64/.env.example' >> 'my project/.gitignore'")


def test_a_project_without_its_folder_is_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, environment(tmp_path / "bin"))
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (0, "", 1)
    assert "docker-amd64" in result.stderr


def test_an_env_that_cannot_be_read_is_one_sentence_with_the_retry(
    project: Path, tmp_path: Path
) -> None:
    (project / "docker-amd64" / ".env").mkdir()
    result = run(project, environment(tmp_path / "bin"))
    assert (result.returncode, result.stderr.count("\n")) == (0, 1)
    assert result.stdout.startswith("Engine: ")  # the rest of its work is done
    assert "it is a folder" in result.stderr
    assert "Try again with ./docker-amd64/template.sh env" in result.stderr


@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of luck"), KeyboardInterrupt(), UnicodeEncodeError("x", "", 0, 1, "y")],
)
def test_no_exception_fails_a_copy(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.chdir(project)
    monkeypatch.setenv("TEMPLATE_SH", "./docker-amd64/template.sh")
    monkeypatch.setattr(after_render, "start_probe", fail)
    monkeypatch.setattr(ask, "start_command", lambda _: None)  # its answer would wait for another
    assert post_generate.main(["--no-ask"]) == 0
    assert "template.sh env" in capsys.readouterr().err


@pytest.mark.parametrize("function", ["run", "fill_env"])
def test_the_words_of_an_error_do_nothing_to_a_terminal(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    function: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("\033[31mred\u202e")

    monkeypatch.chdir(project)
    monkeypatch.setattr(ask, "start_command", lambda _: None)
    if function == "run":
        monkeypatch.setattr(after_render, "run", fail)
    else:
        monkeypatch.setattr(fill, "fill", fail)
    assert post_generate.main(["--no-ask"]) == 0
    said = capsys.readouterr().err
    assert "\\x1b[31mred\\u202e" in said
    assert "\033" not in said


def test_a_copy_imports_only_what_it_needs(generate: Generate, tmp_path: Path) -> None:
    made = generate(tmp_path / "project")
    slow = ("yaml", "packaging", "tomllib", "intake", "tempfile", "hooks.matcher", "hooks.update")
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['hook', '--no-ask', '--python={python_of(made)}']\n"
        f"try: runpy.run_path({str(HOOK)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"print('imported', [name for name in {slow} if name in sys.modules])"
    )
    done = run(made, environment(tmp_path / "bin"), code=code)
    assert done.stdout.splitlines()[-1] == "imported []"


@pytest.mark.parametrize("named", ["", "docker", "podman"])
def test_the_engine_is_asked_once(project: Path, tmp_path: Path, named: str) -> None:
    env = environment(tmp_path / "bin", engine="nvidia")
    if named:
        (project / "docker-amd64/.env").write_text(f"CONTAINER_ENGINE={named}\n")
    docker = tmp_path / "bin/docker"
    docker.unlink()
    docker.write_text('#!/bin/sh\necho "$*" >> "$CALLS"\nexit 1\n')
    docker.chmod(0o755)
    run(project, env | {"CALLS": str(tmp_path / "calls")})
    calls = tmp_path / "calls"
    asked = calls.read_text().splitlines() if calls.exists() else []
    assert asked == ([] if named == "podman" else ["info --format {{json .}}"])


def test_the_templates_folder_is_left_as_it_is(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "template"
    for name in ("hooks", "template"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HOOK.parents[1] / name, copy / name, ignore=ignored)
    before = sorted(copy.rglob("*"))
    env = environment(tmp_path / "bin")
    del env["PYTHONDONTWRITEBYTECODE"]
    command = [sys.executable, str(copy / "hooks" / HOOK.name), "--no-ask"]
    subprocess.run(command, cwd=project, env=env, check=True, capture_output=True, timeout=240)
    assert env_of(project)["CPU_OR_GPU"] == "cpu"
    assert sorted(copy.rglob("*")) == before


# -------------------------------------------------------------------------------- a person answers


def spawn(project: Path, env: dict[str, str]) -> pexpect.spawn[str]:
    terminal = {"TERM": "xterm", "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1", "LANG": "C.UTF-8"}
    return pexpect.spawn(
        sys.executable,
        ["-B", str(HOOK), "--ask"],
        cwd=project,
        env=env | terminal,
        encoding="utf-8",
        dimensions=(40, 160),
        timeout=240,
    )


def finish(child: pexpect.spawn[str]) -> str:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    return child.before or ""


def test_a_person_unticks_a_gpu(project: Path, tmp_path: Path) -> None:
    child = spawn(project, environment(tmp_path / "bin", nvml="mixed"))
    child.expect("GPUs to use")
    child.expect("Tesla V100")
    child.send("\x1b[B \r")  # down, untick the second, done
    assert "Next:" in finish(child)
    assert env_of(project)["GPU_IDS"] == "GPU-00000001-1111-2222-3333-444444444444"


def test_a_person_who_leaves_the_question_gets_all_gpus(project: Path, tmp_path: Path) -> None:
    child = spawn(project, environment(tmp_path / "bin", nvml="mixed"))
    child.expect("GPUs to use")
    child.expect("Tesla V100")
    child.send("\x03")  # Ctrl-C
    assert "Next:" in finish(child)
    assert len(env_of(project)["GPU_IDS"].split(",")) == 2


@pytest.mark.parametrize(
    ("nvml", "env"), [("rtx4090", ""), ("mixed", "GPU_IDS=GPU-mine\n")], ids=["one GPU", "chosen"]
)
def test_a_person_is_not_asked_where_there_is_no_choice(
    project: Path, tmp_path: Path, nvml: str, env: str
) -> None:
    (project / "docker-amd64" / ".env").write_text(env)
    child = spawn(project, environment(tmp_path / "bin", nvml=nvml))
    assert "GPUs to use" not in finish(child)


def test_without_questionary_all_gpus_are_taken(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "questionary", None)
    two = GpuFacts(gpus=(Gpu("a", "GPU-a"), Gpu("b", "GPU-b")), gpu_status="found")
    assert after_render.choose(two, project / "docker-amd64", ask=True) == {}


# ------------------------------------------------------------------------------------------- lines


def test_mig_instances_are_what_a_person_chooses_from() -> None:
    parts = (Mig("H100 MIG 1g.10gb", "MIG-1", 9984), Mig("H100 MIG 3g.40gb", "MIG-2"))
    gpus = (Gpu("H100", "GPU-a", mig_enabled=True, mig=parts), Gpu("H100", "GPU-b"))
    choices = after_render.gpu_choices(GpuFacts(gpus=gpus))
    assert list(choices) == ["MIG-1", "MIG-2", "GPU-b"]
    assert choices["MIG-1"] == "0: H100 MIG 1g.10gb, 10 GiB (MIG-1)"


def test_an_engine_without_trouble_takes_one_line() -> None:
    facts = GpuFacts(
        engine=Engine(kind="docker", reachable=True, version="28.5.2"), gpu_note="none"
    )
    assert len(after_render.host_lines(facts)) == 2


def test_the_hook_and_template_sh_env_write_the_same_file(project: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "bin", nvml="mixed")
    run(project, env)
    path = project / "docker-amd64" / ".env"
    by_hook = path.read_bytes()
    path.unlink()
    assert run_program("env", folder=put_program(path.parent), env=env).returncode == 0
    assert path.read_bytes() == by_hook
    assert path.stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------------ does the choice work here


def answers(torch: str, cuda: str, **more: str) -> list[str]:
    given = {"accelerator": "cuda", "torch": torch, "cuda": cuda, "python": "3.12", **more}
    return [f"--{name}={value}" for name, value in given.items()]


def said(project: Path, tmp_path: Path, nvml: str, *args: str) -> list[str]:
    result = run(project, environment(tmp_path / "bin", nvml=nvml), "--no-ask", *args)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_a_choice_that_works_takes_one_line(project: Path, tmp_path: Path) -> None:
    lines = said(project, tmp_path, "rtx4090", *answers("2.8.0", "12.6"))
    assert [line for line in lines if line.startswith("PyTorch 2.8.0, CUDA 12.6")]
    assert not [line for line in lines if "template.sh update" in line]


def test_a_mismatch_names_the_gpu_the_reason_and_the_command(project: Path, tmp_path: Path) -> None:
    text = "\n".join(said(project, tmp_path, "mixed", *answers("2.15.0", "13.2")))
    assert "fails" in text
    assert "driver" in text
    assert "./docker-amd64/template.sh update --data torch_version=" in text


def test_the_builds_of_conda_forge_are_judged_where_conda_installs_them(
    project: Path, tmp_path: Path
) -> None:
    # Its CUDA 12.9 builds have code for Volta, which PyTorch's own wheels of 12.9 have not.
    given = answers("2.13.0", "12.9", **{"package-manager": "conda", "target-gpus": "Tesla V100"})
    lines = said(project, tmp_path, "", *given)
    assert [line for line in lines if "V100 (7.0): works" in line]


def test_only_the_gpus_of_gpu_ids_are_judged(project: Path, tmp_path: Path) -> None:
    (project / "docker-amd64" / ".env").write_text(
        "GPU_IDS=GPU-00000001-1111-2222-3333-444444444444\n"
    )
    args = answers("2.11.0", "12.8")
    assert not [line for line in said(project, tmp_path, "mixed", *args) if "Tesla V100" in line][
        1:
    ]


def test_gpus_of_a_cluster_are_judged_in_place_of_this_machines(
    project: Path, tmp_path: Path
) -> None:
    args = answers("2.11.0", "12.8", **{"target-gpus": "Tesla V100-SXM2-16GB, NVIDIA H100 PCIe"})
    text = "\n".join(said(project, tmp_path, "", *args))
    assert "V100" in text
    assert "fails" in text


@pytest.mark.parametrize(
    ("engine", "args", "here"),
    [
        ("arm", ["--accelerator=cpu"], True),
        ("arm", answers("2.8.0", "12.6"), True),
        ("arm", answers("2.8.0", "12.6", **{"target-gpus": "NVIDIA H100 PCIe"}), True),
        ("runtime", answers("2.8.0", "12.6"), False),
    ],
)
def test_a_machine_with_another_processor_is_told_so_and_where_the_project_works(
    project: Path, tmp_path: Path, engine: str, args: list[str], *, here: bool
) -> None:
    env = environment(tmp_path / "bin", nvml="rtx4090", engine=engine)
    result = run(project, env, "--no-ask", *args)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    told = [line for line in lines if "this one is aarch64" in line]
    assert len(told) == here
    assert all("x86_64 machine" in line for line in told)
    assert [line for line in lines if line.startswith("Next")] == [
        f"Next{', on an x86_64 machine' if here else ''}: ./docker-amd64/template.sh build dev"
    ]
    # Of this machine's GPUs nothing is said then, of others it is.
    judged = [line for line in lines if line.startswith("PyTorch 2.8.0")]
    assert bool(judged) == (not here or "H100" in "".join(args))


def test_docker_desktop_is_told_how_it_emulates_the_processor(
    project: Path, tmp_path: Path
) -> None:
    env = environment(tmp_path / "bin", engine="arm-desktop")
    text = run(project, env).stdout
    assert "export DOCKER_DEFAULT_PLATFORM=linux/amd64" in text
    assert "\nNext: " in text
    text = run(project, {**env, "DOCKER_DEFAULT_PLATFORM": "linux/amd64"}).stdout
    assert "aarch64" not in text


def test_the_access_that_env_chooses_is_judged_not_the_one_that_would_be_better() -> None:
    both = Access(kinds=("cdi", "nvidia"), mechanism="cdi")
    facts = GpuFacts(gpus=(Gpu("a", "GPU-a"),), access=both)
    for files, access in (
        ("compose.yaml:compose.nvidia.yaml", "hook"),
        ("compose.yaml:compose.cdi.yaml", "cdi"),
        ("compose.yaml", "cdi"),
    ):
        used = after_render.used_gpus(facts, {"COMPOSE_FILE": files})
        found = match.from_probe(used.as_dict())
        assert found
        assert found.access == access


def test_a_cpu_project_is_not_judged(project: Path, tmp_path: Path) -> None:
    lines = said(project, tmp_path, "mixed", "--accelerator=cpu", "--torch=2.15.0")
    assert not [line for line in lines if "PyTorch" in line]


@pytest.mark.parametrize(
    ("nvml", "expected"),
    [("mixed", "7.0 8.9"), ("h200x8", "9.0"), ("", "7.5 8.0")],
    ids=["two kinds, lowest first", "eight of a kind", "without a GPU what the CUDA has"],
)
def test_auto_becomes_the_compute_capabilities_of_this_machine(
    project: Path, tmp_path: Path, nvml: str, expected: str
) -> None:
    example = project / "docker-amd64" / ".env.example"
    example.write_text(EXAMPLE + "CCA='auto 7.5 8.0'\n")
    lines = said(project, tmp_path, nvml)
    assert env_of(project)["CCA"] == expected
    assert any(line.startswith("CCA: no GPU") for line in lines) == (not nvml)


@pytest.mark.parametrize(
    ("nvml", "targets", "before", "expected"),
    [
        ("rtx4090", "", "", "remove"),
        ("mig", "", "", "keep"),
        ("h200x8", "", "USRID=1000\n", "remove"),
        ("rtx4090", "", "CUDA_COMPAT=keep\n", "keep"),
        ("mig", "NVIDIA GeForce RTX 4090", "", "remove"),
    ],
    ids=["GeForce", "an old driver", "an older .env", "the user's", "a cluster"],
)
def test_images_keep_the_libcuda_of_their_base_only_for_gpus_that_need_it(
    project: Path, tmp_path: Path, *, nvml: str, targets: str, before: str, expected: str
) -> None:
    (project / "docker-amd64" / ".env.example").write_text(EXAMPLE + "CUDA_COMPAT=remove\n")
    if before:
        (project / "docker-amd64" / ".env").write_text(before)
    more = {"service": "train", "distro": "ubuntu-24.04", "target-gpus": targets}
    env, folder = environment(tmp_path / "bin", nvml=nvml), project / "docker-amd64"
    assert run(project, env, "--no-ask", *answers("2.13.0", "13.0", **more)).returncode == 0
    assert env_of(project)["CUDA_COMPAT"] == expected
    # `template.sh env` runs no hook, and changes nothing.
    put_program(folder)
    assert run_program("env", folder=folder, env=env).returncode == 0
    assert env_of(project)["CUDA_COMPAT"] == expected


def test_an_unticked_gpu_is_not_compiled_for(project: Path, tmp_path: Path) -> None:
    (project / "docker-amd64" / ".env.example").write_text(EXAMPLE + "CCA='auto 7.5 8.0'\n")
    child = spawn(project, environment(tmp_path / "bin", nvml="mixed"))
    child.expect("Tesla V100")
    child.send("\x1b[B \r")  # down, untick the V100, done
    finish(child)
    assert env_of(project)["CCA"] == "8.9"


@pytest.mark.parametrize(
    ("targets", "before", "expected"),
    [
        ("NVIDIA H100 PCIe, Tesla V100-SXM2-16GB, H100", "", "7.0 9.0"),
        ("NVIDIA H100 PCIe", "CCA='7.5 8.0'\n", "9.0"),
        ("NVIDIA H100 PCIe", "CCA=8.6\n", "8.6"),
        ("NVIDIA H900, NVIDIA H100 PCIe", "", "7.5 8.0"),
    ],
    ids=["new", "still the default", "the user's", "unknown name"],
)
def test_gpus_of_a_cluster_decide_what_auto_means(
    project: Path, tmp_path: Path, targets: str, before: str, expected: str
) -> None:
    (project / "docker-amd64" / ".env.example").write_text(EXAMPLE + "CCA='7.5 8.0'\n")
    (project / "docker-amd64" / ".env").write_text(before)
    args = answers("2.8.0", "12.6", **{"target-gpus": targets})
    lines = said(project, tmp_path, "rtx4090", *args)
    assert env_of(project)["CCA"] == expected
    unknown = [line for line in lines if " in target_gpus is not in the tables" in line]
    assert len(unknown) == ("H900" in targets)
    assert all("capability of NVIDIA H900 in" in line and "answer cca" in line for line in unknown)


def test_other_gpus_of_a_cluster_change_what_auto_means(project: Path, tmp_path: Path) -> None:
    (project / "docker-amd64" / ".env.example").write_text(EXAMPLE + "CCA='7.5 8.0'\n")
    env = environment(tmp_path / "bin")
    run(project, env, *answers("2.8.0", "12.6", **{"target-gpus": "NVIDIA H100 PCIe"}))
    assert env_of(project)["CCA"] == "9.0"
    told = run(project, env, *answers("2.8.0", "12.6", **{"target-gpus": "Tesla V100-SXM2-16GB"}))
    assert env_of(project)["CCA"] == "7.0"
    assert "CCA: 9.0 became 7.0, as the answers now say." in told.stdout.splitlines()


def test_a_list_of_compute_capabilities_is_not_replaced_by_gpus_of_a_cluster(
    project: Path, tmp_path: Path
) -> None:
    (project / "docker-amd64" / ".env.example").write_text(EXAMPLE + "CCA=8.0\n")
    args = answers("2.8.0", "12.6", cca="8.0", **{"target-gpus": "NVIDIA H100 PCIe"})
    said(project, tmp_path, "rtx4090", *args)
    assert env_of(project)["CCA"] == "8.0"


def test_a_list_of_compute_capabilities_stays_as_it_was_answered(
    project: Path, tmp_path: Path
) -> None:
    example = project / "docker-amd64" / ".env.example"
    example.write_text(EXAMPLE + "CCA='8.0 9.0+PTX'\n")
    said(project, tmp_path, "mixed")
    assert env_of(project)["CCA"] == "8.0 9.0+PTX"


def test_a_person_picks_what_works_and_gets_its_command(project: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "bin", nvml="rtx4090")
    child = pexpect.spawn(
        sys.executable,
        ["-B", str(HOOK), "--ask", *answers("2.15.0", "13.2")],
        cwd=project,
        env=env | {"TERM": "xterm", "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        dimensions=(40, 220),
        timeout=240,
    )
    child.expect("What works on these GPUs")
    child.expect("Keep my choice")
    child.send("\r")
    assert "template.sh update --data" in finish(child)


@pytest.mark.parametrize(
    ("service", "given"),
    [
        ("train", {"torch_version": "2.15.0", "cuda_version": "13.2"}),
        ("devel", {"cuda_version": "13.4"}),
        ("hub", {"torch_version": "2.13.0", "cuda_version": "13.0"}),
        ("ngc", {"ngc_release": "26.08"}),
        (
            "simple",
            {"torch_version": "2.13.0", "cuda_version": "13.0", "package_manager": "conda"},
        ),
    ],
)
def test_each_service_is_judged_and_its_command_is_an_answer_that_copier_takes(
    tmp_path: Path, generate: Generate, service: str, given: dict[str, Any]
) -> None:
    machine = match.host("550.54.15", ["NVIDIA GeForce RTX 4090"])
    names = {"torch_version": "torch", "cuda_version": "cuda"}
    more: dict[str, Any] = {"distro": "ubuntu-24.04"} if service in ("train", "devel") else {}
    more |= {names.get(name, name): value for name, value in given.items()}
    wanted = match.choice(service=service, **more)
    told = match.advice(machine, wanted)
    assert told.verdict == "fails"
    change = dict(re.findall(r"--data (\w+)=(\S+)", told.command))
    assert change
    answers: dict[str, Any] = {"service": service, "accelerator": "cuda", **given, **change}
    project = generate(tmp_path / "p", **answers)
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert change.items() <= kept.items()


@pytest.mark.parametrize(
    "odd",
    [
        {"torch": "9.9.9"},
        {"torch": "two\nlines"},
        {"cuda": "?"},
        {"python": "-1"},
        {"service": ""},
        {"cca": "7.5,8.6"},
        {"accelerator": "tpu"},
        {"target-gpus": "((("},
        {"target-gpus": "-, /"},
    ],
    ids=str,
)
def test_an_answer_that_makes_no_sense_costs_no_env_and_no_flood(
    project: Path, tmp_path: Path, odd: dict[str, str]
) -> None:
    env = environment(tmp_path / "bin", nvml="rtx4090")
    run(project, env)
    without = run(project, env).stdout.splitlines()
    args = [f"--{name}={value}" for name, value in odd.items()]
    result = run(project, env, *answers("2.8.0", "12.6"), *args)
    assert (result.returncode, result.stderr) == (0, "")
    more = [line for line in result.stdout.splitlines() if line not in without]
    assert len(result.stdout.splitlines()) == len(without) + len(more)
    assert len(more) <= 3  # a verdict, why, and what to type


def test_a_matcher_that_breaks_costs_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a table\nwith a hole")

    monkeypatch.setenv("TEMPLATE_SH", "./docker-amd64/template.sh")
    monkeypatch.setattr(after_render, "start_probe", lambda _: Facts)
    monkeypatch.setattr(after_render, "judge", broken)
    lines = after_render.run(project, [], ask=False)
    assert [line for line in lines if line.startswith("Compatibility was not checked: ")]
    assert all("\n" not in line for line in lines)
    assert (project / "docker-amd64" / ".env").is_file()


def test_packages_go_to_the_package_manager_that_was_chosen(project: Path, tmp_path: Path) -> None:
    folder = project / "docker-amd64/dependencies"
    folder.mkdir()
    (folder / "environment.yml").write_text("dependencies:\n  - python\n  # Yours:\n")
    (project / "code").mkdir()
    (project / "code/environment.yml").write_text("dependencies: [numpy]\n")
    machine = environment(tmp_path / "bin", nvml="none", engine="none")
    result = run(project, machine, "--no-ask", "--package-manager=conda", "--code-dir=code")
    assert result.returncode == 0
    assert "Imported the packages of code/environment.yml" in result.stdout
    assert (folder / "environment.yml").read_text().endswith("  # Yours:\n  - numpy\n")
    (folder / "environment.yml").write_text("a: [")
    result = run(project, machine, "--no-ask", "--package-manager=conda", "--code-dir=code")
    assert result.returncode == 0
    assert "Packages were not moved: environment.yml is no YAML" in result.stdout
    assert "Next: " in result.stdout
