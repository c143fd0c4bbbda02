"""What a person does all day: start, compute, edit, stop."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.engine.test_failures import changed
from tests.support.canary import found_in
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.scenes import build

MATRIX_PRODUCT = "import torch; print(int((torch.ones(9, 9) @ torch.ones(9, 9)).sum()))"
# Inductor writes C++ for the CPU, and compiles it.
COMPILED_SUM = """
import torch
print(torch.compile(lambda x: torch.sin(x) + torch.cos(x))(torch.ones(8)).sum().item())
"""
SAVE_ON_SIGTERM = """
import signal, sys, time

def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `docker compose run` hands it on twice
    print("saved", flush=True)
    sys.exit(3)

signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(120)
"""
WHERE_AM_I = """
import a_plain_project, getpass, json, os, shutil, sys
print(json.dumps({
    "python": sys.executable,
    "package": a_plain_project.__file__,
    "console script": shutil.which("a-plain-project"),
    "user": getpass.getuser(),
    "ids": [os.getuid(), os.getgid()],
    "home": os.path.expanduser("~"),
}))
"""


def wait_for(what: Callable[[], bool], seconds: float = 240) -> None:
    """Return as soon as `what` holds; fail when it does not within this time."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not seen within {seconds} s"
        time.sleep(0.1)


def git(project: Project, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    result = project.owner.run("git", *identity, *arguments, cwd=project.folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_new_project_computes_with_torch_and_its_files_belong_to_the_person(
    torch_project: Project, torch_version: str
) -> None:
    torch_project.ok("up")
    seen = torch_project.ok("exec", "python", "-m", "my_project")
    assert f"torch    {torch_version}+cpu" in seen
    assert f"{torch_project.owner.name} ({torch_project.owner.uid}:" in seen
    assert (seen.count("(writable)"), seen.count("/data (read-only)")) == (2, 1)
    assert "2 passed" in torch_project.ok("exec", "pytest", "-q")

    assert torch_project.ok("run", "python", "-c", MATRIX_PRODUCT) == "729\n"
    compiled = torch_project.ok("run", "python", "-c", COMPILED_SUM)
    assert float(compiled) == pytest.approx(8 * (math.sin(1) + math.cos(1)), rel=1e-4)

    files = [torch_project.folder / "outputs/by-run", torch_project.folder / "by-exec"]
    torch_project.ok("run", "touch", "/outputs/by-run")
    torch_project.ok("exec", "touch", "/workspace/by-exec")
    for file in files:
        assert (file.stat().st_uid, file.stat().st_gid) == (
            torch_project.owner.uid,
            torch_project.owner.gid,
        )
        file.unlink()

    torch_project.ok("down")
    assert torch_project.compose("ps", "--all", "--quiet") == ""


def test_it_works_from_another_working_directory_and_in_a_folder_with_blanks(
    plain_project: Project,
) -> None:
    for command in (["up"], ["exec", "test", "-f", "/workspace/pyproject.toml"], ["run", "true"]):
        result = plain_project.sh(*command, cwd=Path("/"))
        assert result.returncode == 0, result.stderr


def plain_compose(project: Project, command: list[str]) -> str:
    return project.compose("exec", "-T", "dev", *command)


def plain_docker(project: Project, command: list[str]) -> str:
    container = project.compose("ps", "--quiet", "dev").strip()
    return run("docker", "exec", container, *command).stdout


@pytest.mark.parametrize("shell", [[], ["bash", "-c"], ["bash", "-lc"], ["sh", "-c"]])
@pytest.mark.parametrize(
    "door",
    [
        pytest.param(lambda project, command: project.ok("exec", *command), id="exec"),
        pytest.param(lambda project, command: project.ok("run", *command), id="run"),
        pytest.param(plain_compose, id="docker compose exec"),
        pytest.param(plain_docker, id="docker exec"),
    ],
)
def test_every_door_opens_on_the_same_python_package_user_and_home(
    plain_project: Project, door: Callable[[Project, list[str]], str], shell: list[str]
) -> None:
    plain_project.ok("up")
    command = ["python", "-c", WHERE_AM_I]
    if shell:
        command = [*shell, f"python -c '{WHERE_AM_I}'"]
    assert json.loads(door(plain_project, command)) == {
        "python": "/opt/venv/bin/python",
        "package": "/workspace/src/a_plain_project/__init__.py",
        "console script": "/home/user/.project/bin/a-plain-project",
        "user": plain_project.owner.name,
        "ids": [plain_project.owner.uid, plain_project.owner.gid],
        "home": "/home/user",
    }


def test_sigterm_to_template_sh_run_reaches_the_programs_own_handler(
    plain_project: Project,
) -> None:
    script = str(plain_project.docker / "template.sh")
    with subprocess.Popen(
        [*plain_project.owner.prefix(), script, "run", "python", "-c", SAVE_ON_SIGTERM],
        env=plain_project.owner.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "saved\n"
        assert process.wait(120) == 3
    assert plain_project.compose("ps", "--all", "--quiet", "runtime") == ""


@pytest.mark.parametrize("options", [[], ["--init"]], ids=["without init", "with init"])
def test_docker_stop_lets_the_program_save_its_work(
    plain_project: Project, options: list[str]
) -> None:
    image = plain_project.image("runtime")
    started = run("docker", "run", "--detach", *options, image, "python", "-c", SAVE_ON_SIGTERM)
    container = started.stdout.strip()
    try:
        wait_for(lambda: run("docker", "logs", container).stdout == "ready\n")
        run("docker", "stop", "--timeout", "30", container)
        assert run("docker", "logs", container).stdout == "ready\nsaved\n"
        assert run("docker", "wait", container).stdout == "3\n"
    finally:
        run("docker", "rm", "--force", container)


@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize(
    ("command", "status"), [("true", 0), ("exit 7", 7), ("kill -TERM $$", 143)]
)
def test_the_exit_status_of_a_command_comes_back(
    plain_project: Project, verb: str, command: str, status: int
) -> None:
    plain_project.ok("up")
    assert plain_project.sh(verb, "sh", "-c", command).returncode == status


@pytest.mark.parametrize(
    ("words", "failure", "status"),
    [
        (("nosuch",), "program-missing", 127),
        (("cd", "/"), "program-missing", 127),
        (("./nosuch",), "program-missing", 127),
        (("/etc/passwd",), "program-not-executable", 126),
        (("/workspace",), "program-not-executable", 126),
    ],
)
def test_a_program_that_the_container_cannot_execute_is_explained(
    plain_project: Project, words: tuple[str, ...], failure: str, status: int
) -> None:
    plain_project.ok("up")
    for verb in ("exec", "root"):
        result = plain_project.sh(verb, *words)
        assert (result.returncode, result.stdout) == (status, "")
        assert f"(failure: {failure})" in result.stderr


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_data_can_be_piped_through_a_command(plain_project: Project, verb: str) -> None:
    plain_project.ok("up")
    result = plain_project.sh(verb, "tr", "a-z", "A-Z", stdin="one\ntwo\n")
    assert (result.stdout, result.returncode) == ("ONE\nTWO\n", 0)


def test_a_job_has_a_name_and_its_output_outlives_it(plain_project: Project) -> None:
    project = plain_project
    project.ok("down", "-y")
    command = 'echo "$GREETING"; trap "echo saved; exit 3" TERM; while :; do sleep 0.2; done'
    options = ("-d", "--name", "train", "-e", "GREETING=good day")
    started = project.ok("run", *options, "sh", "-c", command)
    assert started == "train\n"
    assert project.ok("run", "-d", "true") == "job-1\n"
    wait_for(lambda: "good day" in project.ok("logs", "train"))
    listed = project.ok("ls")
    assert re.search(r"(?m)^train +Up .* sh -c 'echo", listed)
    # No command leaves a network behind.
    label = f"label=com.docker.compose.project={project.engine_name}"
    assert run("docker", "network", "ls", "--quiet", "--filter", label).stdout == ""

    assert "(failure: job-runs)" in project.sh("run", "-d", "--name", "train", "true").stderr
    refused = project.sh("down")
    assert (refused.returncode, "(failure: jobs-running)" in refused.stderr) == (1, True)
    assert "(failure: job-missing)" in project.sh("logs", "other").stderr

    project.ok("stop", "train")
    assert project.ok("logs", "--tail", "1", "train") == "saved\n"
    assert re.search(r"(?m)^train +Exited \(3\)", project.ok("ls"))
    wait_for(lambda: re.search(r"(?m)^job-1 +Exited \(0\)", project.ok("ls")) is not None)
    assert "train, job-1" in project.sh("down").stderr
    assert run("docker", "ps", "--all", "--quiet", "--filter", label).stdout == ""


def test_shell_is_a_terminal_in_the_container_that_ends_with_its_own_status(
    plain_project: Project,
) -> None:
    plain_project.ok("up")
    person = plain_project.owner
    command = [*person.prefix(), str(plain_project.docker / "template.sh"), "shell"]
    terminal = pexpect.spawn(
        command[0], command[1:], env=person.environment(), encoding="utf-8", timeout=240
    )
    terminal.sendline("tty; python -c 'import a_plain_project; print(6 * 7)'; exit 5")
    terminal.expect("/dev/pts/0\r\n42\r\n")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 5


def test_the_prompt_names_the_project(plain_project: Project) -> None:
    plain_project.ok("up")
    prompt = plain_project.ok("exec", "bash", "-ic", 'eval "$PROMPT_COMMAND"; printf %s "${PS1@P}"')
    assert prompt.startswith(f"{plain_project.owner.name}@a-plain-project:/workspace")


def test_an_environment_of_the_users_own_leaves_that_of_the_image_alone(
    plain_project: Project,
) -> None:
    plain_project.ok("up")
    own = """
        rm -rf /tmp/own && mkdir /tmp/own && cd /tmp/own
        printf '[project]\\nname="own"\\nversion="1"\\nrequires-python=">=3.8"' >pyproject.toml
        uv sync --offline && uv run --offline python -c 'import sys; print(sys.prefix)'
    """
    before = plain_project.ok("exec", "uv", "pip", "list")
    assert plain_project.ok("exec", "sh", "-c", own) == "/home/user/.venv\n"
    assert plain_project.ok("exec", "uv", "pip", "list") == before
    assert "pytest" in before


def test_a_container_that_is_older_than_its_lock_or_image_is_named(plain_project: Project) -> None:
    plain_project.ok("up")
    lock = plain_project.docker / "dependencies/uv.lock"
    text, image = lock.read_text(), plain_project.image("dev")
    built = run("docker", "image", "inspect", "--format", "{{.Id}}", image).stdout.strip()
    try:
        lock.write_text(text + "\n")
        assert "older than the lock" in plain_project.sh("exec", "true").stderr
    finally:
        lock.write_text(text)
    assert plain_project.sh("exec", "true").stderr == ""
    try:
        run("docker", "tag", plain_project.image("runtime"), image)
        assert "older than its image" in plain_project.sh("freeze").stderr
    finally:
        run("docker", "tag", built, image)


def test_git_finds_the_repository_above_the_code_and_knows_the_user(
    plain_project: Project,
) -> None:
    git(plain_project, "init", "--quiet")
    plain_project.set_env(LOCAL_CODE_DIR="../src")
    person = {"GIT_AUTHOR_NAME": "Jane Doe", "GIT_AUTHOR_EMAIL": "jane@example.com"}
    try:
        plain_project.ok("up", env=person)
        assert plain_project.ok("exec", "git", "rev-parse", "--show-prefix") == "src/\n"
        plain_project.ok("exec", "git", "add", ".")
        plain_project.ok("exec", "git", "commit", "--quiet", "--message", "by the container")
        assert git(plain_project, "log", "--format=%an %ce %s") == (
            "Jane Doe jane@example.com by the container\n"
        )
    finally:
        plain_project.set_env(LOCAL_CODE_DIR="..")
        run("rm", "-rf", str(plain_project.folder / ".git"))
        plain_project.ok("up")


TRY_ALL = """
ls -A docker-amd64
cat docker-amd64/.env && echo READ
{ echo x >>docker-amd64/template.sh; } && echo CHANGED
touch docker-amd64/new && echo MADE
mv docker-amd64 other && echo RENAMED
"""


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_program_can_change_nothing_that_this_machine_runs_nor_read_its_secrets(
    plain_project: Project, verb: str
) -> None:
    plain_project.write("docker-amd64/netrc", "machine example.com password hunter2\n")
    try:
        plain_project.ok("up")
        plain_project.set_env(TZ="Etc/UTC")  # which replaces the file
        seen = plain_project.sh(verb, "sh", "-c", TRY_ALL).stdout.split()
    finally:
        (plain_project.docker / "netrc").unlink()
    assert {"template.sh", "host", "Dockerfile", ".env.example"} <= {*seen}
    hidden = {".env", "netrc", "compose.guard.yaml"}
    assert not {*seen} & {*hidden, "READ", "CHANGED", "MADE", "RENAMED"}


def test_a_run_leaves_a_record_and_its_program_writes_beside_it(plain_project: Project) -> None:
    script = 'echo 0.93 >"$RECORD_DIR/score"'
    plain_project.ok("run", "--record", "-e", "SEED=4711", "sh", "-c", script)
    (file,) = (plain_project.folder / "outputs/records").glob("*/environment.json")
    assert (file.parent / "score").read_text() == "0.93\n"
    found = json.loads(file.read_text())
    assert (found["command"], found["environment"]) == (["sh", "-c", script], ["SEED"])
    assert found["images"]["runtime"].startswith("sha256:")
    assert "Nothing differs" in plain_project.ok("reproduce", str(file))
    plain_project.write("docker-amd64/dependencies/other.lock", "new\n")
    try:
        assert "locks, other.lock: none then" in plain_project.sh("reproduce", str(file)).stdout
    finally:
        (plain_project.docker / "dependencies/other.lock").unlink()


def test_a_record_without_a_run_says_what_verify_finds(torch_project: Project) -> None:
    file = Path(torch_project.ok("record").rstrip("\n"))
    checks = json.loads(file.read_text())["checks"]
    assert checks["PyTorch version"].startswith("ok: ")
    # A run has the result of the same image without another look.
    ran = torch_project.sh("run", "--record", "true")
    assert ran.returncode == 0, ran.stderr
    assert "Running verify" not in ran.stderr
    newest = max((torch_project.folder / "outputs/records").glob("*/environment.json"))
    assert newest != file
    assert json.loads(newest.read_text())["checks"] == checks
    assert "Nothing differs" in torch_project.ok("reproduce", str(newest))


def test_limits_of_env_hold_and_files_of_ones_own_may_have_others(plain_project: Project) -> None:
    own = plain_project.docker / "compose.override.yaml"
    text = (plain_project.docker / ".env").read_text()
    (named,) = re.findall(r"(?m)^COMPOSE_FILE=(.*)$", text)
    plain_project.set_env(CPUS="0.5", MEMORY="256mb")
    try:
        plain_project.ok("up")
        container = plain_project.compose("ps", "--quiet", "dev").strip()
        form = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}"
        name, listed = plain_project.engine_name, plain_project.ok("ls", "--all")
        assert re.search(rf"(?m)^{name}-dev-1  .*  0\.5 CPUs, 0\.25gb", listed)
        assert re.search(rf"(?m)^{name}  .* GB", listed)  # of its images
        limits = run("docker", "inspect", "--format", form, container).stdout.split()
        assert limits == [str(10**9 // 2), str(256 * 1024**2)]
        plain_project.set_env(CPUS="4096", MEMORY="")
        assert "(failure: cpus-too-many)" in plain_project.sh("up").stderr

        plain_project.set_env(CPUS="")
        plain_project.set_env(COMPOSE_FILE=f"{named}:{own.name}")
        limits_of_mine = "{deploy: {resources: {limits: {memory: 300m}}}}"
        plain_project.write(f"docker-amd64/{own.name}", f"services: {{dev: {limits_of_mine}}}\n")
        assert "(failure: limits-twice)" in plain_project.sh("up").stderr
    finally:
        own.unlink(missing_ok=True)
        plain_project.set_env(CPUS="", MEMORY="", COMPOSE_FILE=named)
        plain_project.ok("up")


def keep(person: Person, name: str, secret: str) -> Path:
    """A file that only this person can read, outside of any project; a new one each time."""
    folder = person.home / "my secrets"
    script = 'mkdir -p -m 700 "$1" && rm -f "$1/$2" && umask 077 && cat >"$1/$2"'
    words = ("sh", "-c", script, "sh", str(folder), name)
    assert person.run(*words, cwd=person.home, stdin=f"{secret}\n").returncode == 0
    return folder


def test_a_token_reaches_programs_by_every_door_and_nothing_shows_it(
    plain_project: Project,
) -> None:
    token, newer = "quiet-lamp-4711", "loud-lamp-4712"
    folder = keep(plain_project.owner, "WANDB_API_KEY", token)
    keep(plain_project.owner, "kaggle.json", token)
    ask = ("python", "-c", "import os; print(os.environ['WANDB_API_KEY'])")
    plain_project.set_env(SECRETS_DIR=str(folder))
    try:
        shown = plain_project.sh("up").stderr
        assert plain_project.ok("run", *ask) == f"{token}\n"
        assert plain_project.ok("run", "sh", "-c", "echo $WANDB_API_KEY") == f"{token}\n"
        assert plain_project.ok("exec", *ask) == f"{token}\n"
        assert plain_project.ok("exec", "bash", "-lc", "echo $WANDB_API_KEY") == f"{token}\n"
        assert plain_project.ok("exec", "cat", "/run/secrets/kaggle.json") == f"{token}\n"
        assert plain_project.sh("exec", "tee", "/run/secrets/kaggle.json").returncode

        shown += plain_project.ok("config") + plain_project.ok("logs")
        container = plain_project.compose("ps", "--quiet", "dev").strip()
        shown += run("docker", "inspect", container).stdout + run("docker", "top", container).stdout
        shown += plain_project.ok("exec", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "/my secrets/WANDB_API_KEY" in shown
        assert token not in shown
        assert found_in(plain_project, ("runtime", "dev"), token) == []

        mount = f"type=bind,source={folder}/kaggle.json,target=/run/secrets/kaggle.json"
        image = plain_project.image("runtime")
        other = run("docker", "run", "--rm", "--user", "4321", "--mount", mount, image, "true")
        assert "user 4321 may not read the secret kaggle.json" in other.stderr

        keep(plain_project.owner, "WANDB_API_KEY", newer)
        plain_project.ok("up")
        assert plain_project.ok("exec", *ask) == f"{newer}\n"
    finally:
        plain_project.set_env(SECRETS_DIR="")
        plain_project.ok("up")
    assert plain_project.sh("exec", *ask).returncode == 1


def test_a_container_can_be_stopped_and_started_and_keeps_what_is_in_it(
    plain_project: Project,
) -> None:
    plain_project.ok("up")
    plain_project.ok("exec", "sh", "-c", "echo kept >/tmp/note; echo kept >~/note")
    plain_project.ok("stop")
    assert plain_project.sh("exec", "true").returncode == 1
    plain_project.ok("start")
    assert plain_project.ok("exec", "cat", "/tmp/note") == "kept\n"
    plain_project.ok("down")
    plain_project.ok("up")
    assert plain_project.ok("exec", "cat", "/home/user/note") == "kept\n"
    assert plain_project.sh("exec", "cat", "/tmp/note").returncode == 1


@pytest.mark.parametrize(
    ("script", "stdout", "status"),
    [
        ("export GREETING='good day'$UNSET\n", "good day\n", 0),
        ("false\necho and goes on\n", "", 1),
        ("exit 0\n", "", 1),
    ],
    ids=["sets a variable", "fails in a line that is not its last", "ends the shell"],
)
def test_pre_run_sh_runs_before_the_command_and_can_stop_it(
    plain_project: Project, script: str, stdout: str, status: int
) -> None:
    file = plain_project.write("docker-amd64/dependencies/pre-run.sh", script)
    try:
        plain_project.build("runtime")
        result = plain_project.sh("run", "sh", "-c", 'echo "$GREETING"')
    finally:
        file.unlink()
        plain_project.build("runtime")
    assert (result.stdout, result.returncode) == (stdout, status)
    assert ("pre-run.sh failed" in result.stderr) == (status != 0)


def test_the_scene_of_a_build_shows_its_steps(plain_project: Project) -> None:
    path = "docker-amd64/entrypoint.sh"
    with changed(plain_project, path, (plain_project.folder / path).read_text() + "# edited\n"):
        shown = build(plain_project).lines()
    plain_project.build("dev")
    assert shown[0] == "$ ./docker-amd64/template.sh build dev"
    assert any("COPY --chmod=0755 entrypoint.sh" in line for line in shown), shown


def test_the_second_start_installs_nothing(plain_project: Project) -> None:
    plain_project.ok("run", "true")
    assert plain_project.sh("run", "true").stderr == ""
    plain_project.ok("down")
    plain_project.ok("up")
    assert "[entrypoint]" not in plain_project.ok("logs")


def test_edited_code_is_seen_at_once(plain_project: Project) -> None:
    plain_project.ok("up")
    file = plain_project.write("src/a_plain_project/fresh.py", "print('first')\n")
    assert plain_project.ok("exec", "python", "-m", "a_plain_project.fresh") == "first\n"
    plain_project.write("src/a_plain_project/fresh.py", "print('second, longer')\n")
    assert plain_project.ok("exec", "python", "-m", "a_plain_project.fresh") == "second, longer\n"
    file.unlink()


def test_a_changed_pyproject_is_installed_anew_without_a_trace_of_the_old(
    plain_project: Project,
) -> None:
    pyproject = plain_project.folder / "pyproject.toml"
    before = pyproject.read_text()
    plain_project.ok("run", "true")
    version = "import importlib.metadata as m; print(m.version('a-plain-project'))"
    try:
        after = before.replace('"0.1.0"', '"0.2.0"').replace("a-plain-project =", "greet =")
        plain_project.write("pyproject.toml", after)
        assert plain_project.ok("run", "python", "-c", version) == "0.2.0\n"
        assert "code     /workspace" in plain_project.ok("run", "greet")
        assert plain_project.sh("run", "a-plain-project").returncode == 127
    finally:
        plain_project.write("pyproject.toml", before)
        plain_project.ok("run", "true")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "is empty: no code folder is mounted"),
        (["notes.txt"], "is not a Python project"),
    ],
)
def test_one_line_says_why_no_project_is_installed(
    plain_project: Project, open_folder: Path, files: list[str], sentence: str
) -> None:
    options = []
    for name in files:
        code = open_folder / "no project"
        code.mkdir()
        (code / name).touch()
        options = ["--volume", f"{code}:/workspace"]
    result = run("docker", "run", "--rm", *options, plain_project.image("runtime"), "echo", "done")
    assert result.stdout == "done\n"
    assert [sentence in line for line in result.stderr.splitlines()] == [True]


def test_work_leaves_nothing_in_the_code_folder_that_git_would_see(plain_project: Project) -> None:
    plain_project.write("data/huge.bin", "x")
    plain_project.write("outputs/result.pt", "x")
    git(plain_project, "init", "--quiet")
    git(plain_project, "add", "--all")
    git(plain_project, "commit", "--quiet", "--message", "start")
    try:
        plain_project.ok("down")
        plain_project.ok("clean", "--all")
        plain_project.build()
        plain_project.ok("up")
        plain_project.ok("run", "a-plain-project")
        plain_project.ok("exec", "pytest", "-q")
        assert git(plain_project, "status", "--porcelain") == ""
        ignored = git(plain_project, "status", "--porcelain", "--ignored")
        assert "egg-info" not in ignored
        assert "build/" not in ignored
        # And git works inside, although the container's git never saw this folder's owner before.
        assert plain_project.ok("exec", "git", "status", "--porcelain") == ""
        tracked = git(plain_project, "ls-files")
        for private in ("/.env\n", "data/", "outputs/"):
            assert private not in tracked
    finally:
        run("rm", "-rf", str(plain_project.folder / ".git"))
