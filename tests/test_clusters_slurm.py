"""Jobs on Slurm: a script that works without template.sh, and what is refused before sbatch."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.clusters import slurm, slurm_file
from host.clusters.job import JUPYTER, SHELL, SSH, Code, Image, Job, Record, Request
from host.clusters.site import Site
from host.project import Project, StopError
from tests.support.cluster_job import site_of, write
from tests.support.process import run
from tests.support.program import PROJECT

HOSTILE = ("$(touch pwned)", "`touch pwned`", "a b", 'it\'s "x"', "\\", "a\nb", "*", "ü🚀", "")
SIF = Image("", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}", Path("/images/demo-aaaaaaaaaaaa.sif"))
PUBLISHED = Image("registry.example:5000/team/demo:latest", f"sha256:{'a' * 64}")
SQUASH = PUBLISHED._replace(file=Path("/images/demo-aaaaaaaaaaaa.sqsh"))
OF_DOCKER_HUB = PUBLISHED._replace(name="team/demo:latest")
OF_PYXIS = yaml.safe_load((Path(__file__).parent / "support/pyxis_options.yml").read_text())
TRAIN = ("python", "train.py")

CLIENTS = ("srun", "apptainer", "scontrol", "scancel", "sbatch", "squeue", "sacct", "sinfo")
# A machine with Slurm: each program writes down how it is called. srun becomes its command, of
# which apptainer is one; APPTAINER_DOES is what the program in the container does.
CLIENT = """\
#!{python} -IS
import json, os, sys
name = os.path.basename(sys.argv[0])
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
says = json.loads(os.environ.get("SAYS", "{{}}"))
starts = [" ".join([name, *sys.argv[1:count]]) for count in (3, 2)]
print(next((says[start] for start in starts if start in says), "n1"))
sys.stdout.flush()
if name == "srun":
    words = sys.argv[1:]
    while words[0].startswith("-"):
        words.pop(0)
    os.execvp(words[0], words)
if name == "apptainer":
    os.execvp("bash", ["bash", "-c", os.environ["APPTAINER_DOES"]])
sys.exit(int(os.environ.get("STATUS", "0")))
"""


def make_site(**tables: dict[str, Any]) -> Site:
    """A site with these values; the others are the defaults."""
    return site_of("slurm", **{"user": {"name": "jane"}, **tables})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project in a folder with a blank in its name."""
    folder = tmp_path / "my project" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder / "keys.pub").write_text("ssh-ed25519 AAAA jane\n")
    (folder / ".env").write_text(f"SSH_KEYS='{folder}/keys.pub'\n")
    return Project(folder, {**PROJECT, "clusters": ["slurm"]})


@pytest.fixture
def render(project: Project) -> Callable[..., Job]:
    """Write the files of a job into its folder."""

    def written(request: Request, site: Site | None = None, **parts: Any) -> Job:
        folder = project.folder / "deploy/slurm/jobs" / request.name
        parts = {"image": SIF, "code": Code(Path("/code/demo"), "1" * 40), **parts}
        job = Job(project, site or make_site(), request, folder=folder, **parts)
        folder.mkdir(parents=True, exist_ok=True)
        write(job, slurm.SCHEDULER.files(job))
        return job

    return written


class Machine:
    """A machine on which Slurm's clients and Apptainer are."""

    def __init__(self, folder: Path):
        """Make the programs."""
        self.folder, self.calls_file = folder, folder / "calls"
        (folder / "bin").mkdir()
        for name in CLIENTS:
            file = folder / "bin" / name
            file.write_text(CLIENT.format(python=sys.executable))
            file.chmod(0o755)
        self.environ = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls_file),
            "APPTAINER_DOES": "true",
            "SLURM_JOB_ID": f"{os.getpid()}",
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
        }

    def start(self, job: Job, does: str = "true", **environ: str) -> subprocess.Popen[str]:
        """Start the script as sbatch does: a copy, in another folder."""
        script = self.folder / "slurm_script"
        shutil.copyfile(job.folder / slurm_file.JOB_FILE, script)
        return subprocess.Popen(
            ["bash", script],
            cwd=self.folder,
            env={**self.environ, "APPTAINER_DOES": does, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def calls(self, name: str) -> list[list[str]]:
        """How a program was called."""
        if not self.calls_file.exists():
            return []
        every = map(json.loads, self.calls_file.read_text().splitlines())
        return [words for program, *words in every if program == name]

    @property
    def home(self) -> Path:
        """The home of the job's container."""
        return Path(f"/tmp/job-{self.environ['SLURM_JOB_ID']}")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Slurm's clients are on this machine."""
    made = Machine(tmp_path)
    for name in ("PATH", "CALLS"):
        monkeypatch.setenv(name, made.environ[name])
    return made


def train(**more: Any) -> Request:
    """A request of a small job."""
    return Request(**{"cluster": "slurm", "name": "train", "command": TRAIN, **more})


def wait_for(condition: Callable[[], object]) -> None:
    """Wait at most four minutes."""
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def script(job: Job) -> str:
    """The text of the job file."""
    return (job.folder / slurm_file.JOB_FILE).read_text()


# ---------------------------------------------------------------------------------- the job file


def test_the_largest_file_is_short_and_clean(render: Callable[..., Job], project: Project) -> None:
    keys = {"partition": "gpu", "account": "lab", "qos": "long", "constraint": "a100|h100"}
    keys |= {"gpu_type": "a100", "interface": "ib0", "mpi": "pmix", "reservation": "team"}
    site = make_site(
        slurm={**keys, "setup": ["module load apptainer"], "options": ["--exclusive"]},
        storage={"data": "/data sets", "outputs": "/out", "secrets": "/s", "mounts": ["/a:/a:ro"]},
        environment={"A": "it's"},
    )
    largest = {"nodes": 2, "gpus": 8, "cpus": 64, "memory": 2**38, "seconds": 90061}
    request = train(**largest, array="0-9%2", verify=True, requeue=3, command=("torchrun", "x.py"))
    job = render(request, site)
    render(train(name="enter", command=(), door=SSH), site)
    render(train(name="lab", command=(), door=JUPYTER), make_site(slurm={"container": "pyxis"}))
    assert len(script(job).splitlines()) < 60
    assert "#SBATCH --time=1-01:01:01" in script(job).splitlines()
    files = sorted(project.folder.rglob("*.sh"))
    assert len(files) == 4
    # SC1091: /etc/profile is the node's. SC2016: the quotes are those of the command.
    done = run(str(Path(sys.executable).with_name("shellcheck")), "--exclude=SC1091,SC2016", *files)
    assert done.returncode == 0, done.stdout


def test_a_small_job_asks_for_nothing_that_was_not_asked_for(render: Callable[..., Job]) -> None:
    text = script(render(train()))
    for word in ("gpu", "--nv", "cpus", "--mem", "--time", "--array", "requeue ", "MASTER", "PET"):
        assert word not in text
    assert f"# Image: {SIF.digest}" in text
    assert f"# The image was built from the answers {SIF.answers}." in text
    assert f"# Code: commit {'1' * 40}" in text


def test_words_reach_the_container_as_they_are(
    render: Callable[..., Job], machine: Machine
) -> None:
    storage = {"data": "/data sets/it's"}
    environment = {f"WORD_{at}": word for at, word in enumerate(HOSTILE)}
    site = make_site(storage=storage, environment=environment)
    job = render(train(command=("echo", *HOSTILE)), site)
    does = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = machine.start(job, does)
    said = done.communicate()[0]
    assert done.returncode == 0, said
    (words,) = machine.calls("apptainer")
    assert words[words.index("/opt/container/entrypoint.sh") + 1 :] == ["echo", *HOSTILE]
    assert "/data sets/it's:/data:ro" in words
    assert not list(machine.folder.rglob("pwned"))
    assert json.loads(said.splitlines()[-1]).items() >= environment.items()


def test_only_named_variables_get_into_the_container(
    render: Callable[..., Job], machine: Machine
) -> None:
    machine.start(render(train(environment={"SEED": "1"}))).communicate()
    (words,) = machine.calls("srun")
    export = next(word for word in words if word.startswith("--export="))
    assert export == "--export=PATH,HOME,USER,CONTAINER_HOME,SEED"
    assert "home,cwd" in machine.calls("apptainer")[0]


def test_a_status_comes_back_and_nothing_is_left(
    render: Callable[..., Job], machine: Machine
) -> None:
    done = machine.start(render(train()), 'mkdir "$CONTAINER_HOME"; exit 3')
    assert done.wait() == 3
    assert not machine.home.exists()


def test_a_cancelled_program_keeps_its_home_until_it_ends(
    render: Callable[..., Job], machine: Machine
) -> None:
    does = 'mkdir "$CONTAINER_HOME"; sleep 1; [[ -d $CONTAINER_HOME ]]'
    done = machine.start(render(train()), does)
    wait_for(machine.home.exists)
    done.send_signal(signal.SIGTERM)  # Slurm's to the script alone
    assert done.wait() == 0
    assert not machine.home.exists()


@pytest.mark.parametrize(
    ("restarts", "status", "again"), [(0, 1, True), (2, 1, False), (0, 0, False)]
)
def test_after_the_warning_a_job_starts_again(
    render: Callable[..., Job], machine: Machine, restarts: int, status: int, again: bool
) -> None:
    job = render(train(requeue=2))
    warned = 'for _ in {1..600}; do ! grep -q scancel "$CALLS" || break; sleep 0.1; done'
    done = machine.start(job, f"{warned}; exit {status}", SLURM_RESTART_COUNT=str(restarts))
    wait_for(lambda: machine.calls("apptainer"))
    done.send_signal(signal.SIGUSR1)
    assert done.wait() == status
    number = machine.environ["SLURM_JOB_ID"]
    assert machine.calls("scancel") == [["--signal=TERM", number]]  # which are the program's
    assert (["requeue", number] in machine.calls("scontrol")) == again


def test_nodes_meet_at_the_first_one(render: Callable[..., Job], machine: Machine) -> None:
    job = render(train(nodes=2, gpus=4, command=("torchrun", "train.py")))
    does = 'echo "$MASTER_ADDR $MASTER_PORT $PET_NNODES $PET_NPROC_PER_NODE"'
    said = machine.start(job, does, SAYS='{"scontrol show": "n1\\nn2"}').communicate()[0]
    port = 10000 + int(machine.environ["SLURM_JOB_ID"]) % 20000
    assert f"n1 {port} 2 4" in said.splitlines()
    clean, run = sorted(machine.calls("srun"), key=len)
    assert clean[-3:] == ["-rf", "--", str(machine.home)]  # on both nodes
    assert "--nv" in machine.calls("apptainer")[0]
    assert "--kill-on-bad-exit=1" in run


def test_the_job_brings_its_code_where_no_folder_is_shared(
    render: Callable[..., Job], machine: Machine, tmp_path: Path
) -> None:
    source = tmp_path / "train.py"
    source.write_text("1")
    archive = subprocess.run(["tar", "-czC", tmp_path, "train.py"], capture_output=True, check=True)
    job = render(train(), code=Code(None, "1" * 40, archive=archive.stdout))
    code = Path(f"/tmp/code-{machine.environ['SLURM_JOB_ID']}")
    code.mkdir()  # of a start before this one, which nothing has ended
    (code / "old").touch()
    said = machine.start(job, f"ls {code}; cat {code}/train.py").communicate()[0]
    assert said.splitlines()[-2:] == ["train.py", "1"]
    assert "old" not in said.splitlines()
    assert f"{code}:/workspace" in machine.calls("apptainer")[0]
    assert not code.exists()
    assert base64.b64decode((job.folder / slurm_file.ARCHIVE_FILE).read_text()) == archive.stdout


def test_a_folder_that_no_mount_can_have_is_refused(render: Callable[..., Job]) -> None:
    with pytest.raises(StopError) as raised:
        render(train(), code=Code(Path("/a:b"), ""))
    assert raised.value.name == "slurm-folder"


def test_a_long_command_is_only_once_in_the_file(render: Callable[..., Job]) -> None:
    text = script(render(train(command=("echo", *map(str, range(2000))))))
    assert text.count("1999") == 1


def test_a_short_job_is_not_warned_when_it_starts(render: Callable[..., Job]) -> None:
    assert "--signal=TERM@30" in script(render(train(seconds=60)))


# ------------------------------------------------------------------------- pyxis, CSCS, other doors


def test_pyxis_gets_the_digest(render: Callable[..., Job], machine: Machine) -> None:
    site = make_site(slurm={"container": "pyxis"}, storage={"outputs": str(machine.folder)})
    job = render(train(tasks=2), site, image=PUBLISHED)
    call = script(job)[script(job).index("\nsrun") :].replace("\\\n", " ")
    assert f"--container-image='registry.example:5000#team/demo:{PUBLISHED.digest}'" in call
    assert f"--container-mounts=/code/demo:/workspace:ro,{machine.folder}:/outputs " in call
    assert call.rstrip().endswith(" /opt/container/entrypoint.sh python train.py")
    assert "rm -rf" not in script(job)  # its /tmp ends with the container
    assert slurm.kind_of_image(site) == "registry"


@pytest.mark.parametrize(
    "image", [PUBLISHED, SQUASH, OF_DOCKER_HUB], ids=["registry", "file", "hub"]
)
@pytest.mark.parametrize("door", ["", SHELL, SSH, JUPYTER])
def test_pyxis_has_each_option_of_a_job(
    render: Callable[..., Job], image: Image, door: str
) -> None:
    """Pyxis cannot be had: what srun is called with is held to its documentation."""
    site = make_site(
        slurm={"container": "pyxis", "mpi": "pmix"},
        storage={
            "data": "/data sets",
            "outputs": "/out",
            "home": "/home/us",
            "mounts": ["/a:/a:ro"],
        },
        environment={"A": "it's", "HF_HOME": "/out/hf"},
    )
    command = () if door else ("torchrun", "x.py")
    job = render(train(gpus=1, command=command, door=door), site, image=image)
    found = pyxis_options(script(job))
    if door != JUPYTER:  # whose line has a tunnel
        found += pyxis_options("\n".join(slurm.SCHEDULER.enter(job, "42")))
    assert len(found) > 4
    for option, value in found:
        assert option in OF_PYXIS["srun"]["flags" if value is None else "valued"], option
        if value is not None:
            assert re.fullmatch(OF_PYXIS["values"][option], value), (option, value)


def pyxis_options(text: str) -> list[tuple[str, str | None]]:
    """The options of containers in calls of srun, with their values."""
    start = re.search(r"(?m)^srun ", text)
    words = shlex.split(text[start.start() :], comments=True) if start else []
    parts = [word.partition("=") for word in words if re.match("--(no-)?container-", word)]
    return [(option, value if sign else None) for option, sign, value in parts]


def test_cscs_gets_a_file(render: Callable[..., Job]) -> None:
    tomllib = pytest.importorskip("tomllib")
    keys = {"container": "edf", "annotations": {"com.hooks.cxi.enabled": "false"}}
    site = make_site(slurm=keys, environment={"A": '"$HOME"\n'})
    job = render(train(), site, image=PUBLISHED)
    file = job.folder / "container.toml"
    found = tomllib.loads(file.read_text())
    assert found["image"] == f"registry.example:5000#team/demo:{PUBLISHED.digest}"
    assert found["mounts"] == ["/code/demo:/workspace:ro"]
    assert found["annotations"]["com"]["hooks"]["cxi"]["enabled"] == "false"
    assert found["env"]["A"] == '"$$HOME"\n'  # a dollar, in such a file
    assert f"--environment='{file}'" in script(job)


def test_the_entrypoint_of_nvidia_is_the_first(
    render: Callable[..., Job], project: Project, machine: Machine
) -> None:
    project.service = "ngc"
    machine.start(render(train())).wait()
    words = machine.calls("apptainer")[0]
    assert words[-4] == "/opt/nvidia/nvidia_entrypoint.sh"


def test_a_server_that_nobody_may_enter_is_refused(
    render: Callable[..., Job], project: Project
) -> None:
    (project.folder / "keys.pub").write_text("\n")
    with pytest.raises(StopError) as caught:
        render(train(command=(), door=SSH))
    assert caught.value.name == "ssh-no-keys"


def test_the_command_in_the_script_of_a_door_can_be_pasted(render: Callable[..., Job]) -> None:
    job = render(train(command=(), door=SHELL))
    lines = (job.folder / slurm_file.ENTER_FILE).read_text().splitlines()
    (line,) = [one[2:] for one in lines if one.startswith("# srun")]
    assert shlex.split(line)[-2:] == [str(job.folder / slurm_file.ENTER_FILE), "bash"]


@pytest.mark.parametrize("door", [SHELL, SSH, JUPYTER])
@pytest.mark.parametrize("container", ["apptainer", "pyxis", "edf"])
def test_a_door_is_one_line(render: Callable[..., Job], door: str, container: str) -> None:
    site = make_site(slurm={"container": container}, user={"login": "jane@login"})
    image = SIF if container == "apptainer" else PUBLISHED
    job = render(train(command=(), door=door), site, image=image)
    first = slurm.SCHEDULER.enter(job, "42")[0]
    assert first.startswith("ssh ")
    assert "jane@login" in first
    check = run("bash", "-n", input=first)
    assert check.returncode == 0, check.stderr
    assert ("--jobid=42" in first) == (door != JUPYTER)  # as a step of the job: no open port
    assert ("127.0.0.1" in script(job)) == (door == JUPYTER)


@pytest.mark.parametrize("shared", [True, False])
def test_a_door_of_pyxis_leads_into_the_container_of_the_step_that_runs(
    render: Callable[..., Job], shared: bool
) -> None:
    """Pyxis names it pyxis_JOB.STEP, or pyxis_JOB_JOB.STEP with container_scope=job."""
    code = Code(Path("/code/demo") if shared else None, "1" * 40, archive=b"tar")
    site = make_site(slurm={"container": "pyxis"})
    job = render(train(command=(), door=SHELL), site, image=PUBLISHED, code=code)
    lines = script(job).replace("\\\n", " ").splitlines()
    steps = [one for one in lines if one.startswith("srun ")]
    (step,) = [at for at, one in enumerate(steps) if "--container-image=" in one]
    assert step == (0 if shared else 1)
    assert f" --container-name=42.{step} " in slurm.SCHEDULER.enter(job, "42")[0]


@pytest.mark.parametrize("there", [("apptainer", "singularity"), ("singularity",), ()])
def test_a_job_takes_singularity_where_there_is_no_apptainer(
    render: Callable[..., Job], tmp_path: Path, there: tuple[str, ...]
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in there:
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    (word,) = set(re.findall(r'"\$\([^)]*\)"(?= --quiet exec)', script(render(train()))))
    said = run("/bin/bash", "-euc", f"echo {word}", env={"PATH": str(tools)})
    wanted = str(tools / there[0]) if "apptainer" in there else "singularity"
    assert said.stdout.strip() == wanted


def test_a_door_for_ssh_is_refused_if_nobody_may_log_in(
    render: Callable[..., Job], project: Project
) -> None:
    (project.folder / ".env").write_text("")
    with pytest.raises(StopError) as stopped:
        render(train(command=(), door=SSH))
    assert stopped.value.name == "ssh-no-keys"


def test_a_folder_has_no_words_of_ssh_in_its_name(render: Callable[..., Job]) -> None:
    job = render(train(command=(), door=SSH))._replace(folder=Path("/home/100%h"))
    (line,) = slurm.SCHEDULER.enter(job, "42")
    assert "/home/100%%h/enter.sh" in line


def test_another_users_folder_is_no_home(render: Callable[..., Job], tmp_path: Path) -> None:
    job = render(train(command=(), door=SSH))
    (tmp_path / "mine").mkdir()
    (tmp_path / "job").symlink_to(tmp_path / "mine")
    lines = (job.folder / "enter.sh").read_text().split("\n")
    start = next(at for at, one in enumerate(lines) if "umask 077; mkdir" in one)
    end = next(at for at, one in enumerate(lines) if one.endswith('>"$CONTAINER_HOME/passwd"'))
    env = {**os.environ, "CONTAINER_HOME": str(tmp_path / "job"), "USER": "jane"}
    part = "\n".join(lines[start : end + 1])
    assert run("bash", "-euc", part, env=env).returncode == 1
    assert not any((tmp_path / "mine").iterdir())


def test_a_notebook_has_a_token_that_nothing_prints(tmp_path: Path) -> None:
    (tmp_path / "jupyter").write_text('#!/bin/bash\necho "$@"')
    (tmp_path / "jupyter").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path, "SLURM_JOB_ID": "42"}
    every = [
        run("bash", "-euc", slurm_file.JUPYTER_SCRIPT, env={**env, "SLURM_JOB_ID": number})
        for number in ("41", "42")
    ]
    file = tmp_path / ".jupyter-token-42"
    token = file.read_text()
    assert (len(token), token.split()) == (48, [token])  # Jupyter takes the file as it is
    assert token not in (tmp_path / ".jupyter-token-41").read_text()  # of a server that has ended
    assert file.stat().st_mode & 0o777 == 0o600
    assert "--port=10042" in every[1].stdout
    for done in every:
        assert token not in done.stdout + done.stderr


# ---------------------------------------------------------------------------- before submission


PARTITIONS = """\
PartitionName=gpu Default=YES MaxTime=1-00:00:00 TotalNodes=2
PartitionName=cpu Default=NO MaxTime=UNLIMITED MaxNodes=4 TotalNodes=9"""


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("keys", "asked", "failure"),
    [
        ({}, {}, ""),
        ({"partition": "gpus"}, {}, "slurm-partition"),
        ({"partition": "cpu"}, {"gpus": 1}, "slurm-no-gpus"),
        ({"partition": "gpu,cpu"}, {"gpus": 8}, ""),
        ({"partition": "gpu,cpu"}, {"gpus": 9}, "slurm-no-gpus"),
        ({"partition": "cpu"}, {"nodes": 5}, "slurm-nodes"),
        ({"partition": "gpu"}, {"cpus": 128}, ""),
        ({"partition": "cpu"}, {"cpus": 65}, "slurm-nodes-unfit"),
        ({}, {"nodes": 3}, "slurm-nodes"),
        ({}, {"seconds": 86401}, "slurm-time"),
        ({"partition": "cpu"}, {"seconds": 86401}, ""),
        ({"qos": "a b"}, {}, "site-value"),
        ({"options": ["--exclusive\n#SBATCH"]}, {}, "site-value"),
        ({"options": ["exclusive"]}, {}, "site-value"),
    ],
)
def test_what_slurm_would_queue_for_ever_is_refused(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    asked: dict[str, Any],
    failure: str,
) -> None:
    said = {"scontrol --oneliner": PARTITIONS}
    said["sinfo --noheader"] = "64 (null)"
    if keys.get("partition") != "cpu":
        said["sinfo --noheader"] += "\n128 gpu:a100:4(S:0-1),gpu:h100:4"
    monkeypatch.setenv("SAYS", json.dumps(said))
    site = make_site(slurm=keys)
    if not failure:
        slurm.check(project, site, train(**asked))
        return
    with pytest.raises(StopError) as raised:
        slurm.check(project, site, train(**asked))
    assert raised.value.name == failure


def test_folders_that_this_machine_does_not_have_are_named(
    project: Project,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SAYS", json.dumps({"scontrol --oneliner": PARTITIONS}))
    missing = ("/no/data", "/no/secrets", "/no/first", "/no/second")
    mounts = [f"{missing[2]}:/first", f"{machine.folder}:/second:ro", f"{missing[3]}:/third"]
    storage = {"data": missing[0], "secrets": missing[1], "mounts": mounts}
    slurm.check(project, make_site(storage=storage), train())
    told = capsys.readouterr().err
    assert [one for one in missing if one not in told] == []
    assert str(machine.folder) not in told


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    "name", ["PATH", "LD_PRELOAD", "BASH_ENV", "SLURM_JOB_ID", "CONTAINER_HOME", "warned"]
)
def test_a_variable_of_the_script_itself_is_refused(project: Project, name: str) -> None:
    with pytest.raises(StopError):
        slurm.check(project, make_site(environment={name: "x"}), train())
    with pytest.raises(StopError):
        slurm.check(project, make_site(), train(environment={name: "x"}))


def test_what_cannot_be_asked_is_accepted(
    project: Project, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(slurm={"partition": "unknown"})
    monkeypatch.setenv("STATUS", "1")
    slurm.check(project, site, train())
    monkeypatch.setenv("PATH", str(machine.folder))
    slurm.check(project, site, train())


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("invalid partition specified: x", "slurm-partition"),
        ("Invalid account or account/partition combination specified", "slurm-account"),
        ("Requested node configuration is not available", "slurm-nodes-unfit"),
        ("Invalid generic resource (gres) specification", "slurm-gres"),
        ("Job violates accounting/QOS policy (job submit limit, …)", "slurm-policy"),
        ("Unable to contact slurm controller (connect failure)", "slurm-silent"),
        ("something new", "slurm-client"),
        ("_establish_config_source: failed to fetch config", "slurm-client"),
    ],
)
def test_a_refusal_of_sbatch_is_explained(project: Project, said: str, failure: str) -> None:
    text = f"sbatch: error: Batch job submission failed: {said}"
    assert slurm.failure_of(project, text, "sbatch").name == failure


# ---------------------------------------------------------------------------- after submission


def record(folder: Path, number: str, name: str = "train") -> Record:
    """A job that was handed over."""
    return Record("slurm", name, number, "", TRAIN, "", "", "", "", 1, 0, "", folder)


def test_an_id_comes_back(
    render: Callable[..., Job], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYS", '{"sbatch --parsable": "42;alps"}')
    job = render(train())
    assert slurm.submit(job) == "42"
    assert machine.calls("sbatch") == [["--parsable", str(job.folder / "job.sh")]]


def test_states(project: Project, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = "1|FAILED|768|NonZeroExitCode|\n2|RUNNING|0|None|\n2|PENDING|0|Resources|\n"
    queue += "3|FAILED|0:9|None|"
    ended = "4|FAILED|3:0\n5_0|COMPLETED|0:0\n5_1|CANCELLED by 1500|0:15"
    said = {"squeue --noheader": queue, "sacct --noheader": ended}
    monkeypatch.setenv("SAYS", json.dumps(said))
    jobs = tuple(record(machine.folder, number, f"job-{number}") for number in "123456")
    assert slurm.states(project, make_site(), jobs) == {
        "job-1": "FAILED (status 3)",
        "job-2": "PENDING (Resources) 1, RUNNING 1",
        "job-3": "FAILED (signal 9)",
        "job-4": "FAILED (status 3)",
        "job-5": "CANCELLED 1, COMPLETED 1",
    }


def test_logs_of_an_array_follow_until_it_ends(
    project: Project,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setenv("SAYS", '{"squeue --noheader": "42|COMPLETED|0|None|"}')
    for name in ("42_10.out", "42_2.out", "421_0.out"):
        (machine.folder / name).write_bytes(name.encode() + b"\xff\n")
    assert slurm.logs(project, make_site(), record(machine.folder, "42"), True) == 0
    out = capsysbinary.readouterr().out
    assert out == b"==> 42_2.out <==\n42_2.out\xff\n==> 42_10.out <==\n42_10.out\xff\n"
