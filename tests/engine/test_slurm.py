"""From a project to jobs on a real Slurm of two nodes, in containers of a real Apptainer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from workflows import cluster_requests as requests

from tests.engine.conftest import MakeProject, give
from tests.support.engine import need
from tests.support.project import Project
from tests.support.registry import Registry
from tests.support.slurm import Slurm, slurm_problem, two_nodes

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can start Slurm for a user")

# A job says what it sees of its place as a line of JSON.
CODE = {
    "pyproject.toml": '[project]\nname = "demo"\nversion = "1"\n'
    '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
    "src/demo/__init__.py": "",
    "src/demo/version.py": 'VERSION = "committed"\n',
    "src/demo/place.py": """\
import json, os, pathlib, socket, sys, time
while "--wait" in sys.argv and not pathlib.Path("/outputs/go").exists():
    time.sleep(0.1)
from demo.version import VERSION
home = pathlib.Path(os.environ["HOME"])
print(json.dumps({
    "version": VERSION, "node": socket.gethostname(), "home": str(home), "uid": os.getuid(),
    "rank": os.environ.get("RANK"), "local": os.environ.get("LOCAL_RANK"),
    "size": os.environ.get("WORLD_SIZE"), "task": os.environ.get("SLURM_ARRAY_TASK_ID"),
    "installed": (home / ".project/stamp").stat().st_mtime_ns,
    "foreign": os.environ.get("LEAKED"), "from": __file__,
}), flush=True)
sys.exit(int(os.environ.get("STATUS", 0)))
""",
    "src/demo/reduce.py": """\
import json, socket, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.arange(3) * (dist.get_rank() + 1)
dist.all_reduce(total)
print(json.dumps({"node": socket.gethostname(), "rank": dist.get_rank(), "sum": total.tolist()}))
dist.destroy_process_group()
""",
    # A training as it should be: it goes on at its checkpoint, which it writes when it is warned.
    "src/demo/train.py": """\
import json, pathlib, signal, sys, time
name = sys.argv[1]
checkpoint = pathlib.Path("/outputs", name)
if checkpoint.exists():
    print(json.dumps({"goes on at": json.loads(checkpoint.read_text())["step"]}))
    sys.exit(0)
signals = []
def save(number, frame):
    signals.append(number)
    checkpoint.write_text(json.dumps({"step": step, "signals": signals}))
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path("/outputs", name + "-started").touch()
for step in range(6000):
    time.sleep(0.1)
""",
}
SITE = """\
[image]
files = "{shared}/images"
[defaults]
cpus = 1
memory = "500M"
time = "4m"
[storage]
code = "{shared}/code"
outputs = "{shared}/outputs"
[slurm]
partition = "short"
warning = "60s"
"""
AUTHOR = "-c user.name=Jane -c user.email=jane@example.com"
ENDS = ("CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")


class Site(NamedTuple):
    """A project on a cluster, with its image as a SIF and its code in git."""

    project: Project
    slurm: Slurm
    shared: Path

    def submit(self, name: str, *words: str) -> dict[str, Any]:
        """Submit a job; what Hearth recorded of it."""
        # Of the shell that submits, nothing reaches the program by itself.
        self.project.ok("submit", "--name", name, *words, env={"LEAKED": "yes"})
        record: dict[str, Any] = json.loads((self.folder(name) / "job.json").read_text())
        return record

    def folder(self, name: str) -> Path:
        """The folder of a job."""
        return self.project.docker / "deploy/slurm/jobs" / name

    def result(self, name: str, *words: str) -> list[dict[str, Any]]:
        """Run a job to its successful end; the lines of JSON that it printed."""
        record = self.submit(name, *words)
        self.end(record)
        return self.printed(name)

    def end(self, record: dict[str, Any], state: str = "COMPLETED") -> dict[str, str]:
        """Wait for the end of a job, which must be this one; what Slurm knows of it."""
        known = self.slurm.wait(record["id"], *ENDS)
        assert known["JobState"] == state, f"{known}\n{self.said(record['name'])}"
        return known

    def said(self, name: str) -> str:
        """All that a job printed."""
        return self.project.sh("logs", name).stdout

    def output(self, name: str) -> Path:
        """A file that jobs see in /outputs."""
        return self.shared / "outputs" / name

    def printed(self, name: str) -> list[dict[str, Any]]:
        """The lines of JSON that a job printed, in a fixed order."""
        lines = re.findall(r"(?m)^\{.*\}$", self.project.ok("logs", name))
        return [json.loads(line) for line in sorted(lines)]


def wait_for(file: Path) -> None:
    """Wait until a program has made a file."""
    end = time.monotonic() + 480
    while not file.exists():
        assert time.monotonic() < end, f"{file} was not made"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm(open_folder: Path) -> Iterator[Slurm]:
    need(slurm_problem())
    with two_nodes(open_folder / "slurm") as started:
        yield started


@pytest.fixture(scope="module")
def site(slurm: Slurm, open_folder: Path, project: MakeProject, torch_version: str) -> Site:
    """The project, from its answers to the SIF, as its user makes it."""
    user, shared = slurm.user, open_folder / "slurm-shared"
    for name in ("images", "code", "outputs"):
        (shared / name).mkdir(parents=True)
    give(shared, user)
    answers: dict[str, Any] = {
        "clusters": ["slurm"],
        "extras": ["airflow"],
        "torch_version": torch_version,
    }
    new = project(owner=user, existing=CODE, **answers)
    new.write("docker-amd64/deploy/site.toml", SITE.format(shared=shared))
    new.build("runtime")
    new.ok("sif")
    for words in ("init -q", "add --all", f"{AUTHOR} commit -q -m code"):
        slurm.call("git", *words.split(), cwd=new.folder)
    return Site(new, slurm, shared)


@pytest.fixture(scope="module", autouse=True)
def warned(site: Site) -> dict[str, Any]:
    """A job that runs to its warning, which takes up to a minute; the other tests run beside it.

    Slurm looks at limits each half minute, and warns half a minute too early rather than too late.
    """
    words = ("--time", "2m", "--requeue", "1", "python", "-m", "demo.train", "warned")
    return site.submit("warned", *words)


def test_a_job_runs_the_commit_that_it_was_submitted_with(site: Site) -> None:
    record = site.submit("first", "python", "-m", "demo.place", "--wait")
    site.project.write("src/demo/version.py", 'VERSION = "edited"\n')
    try:
        refused = site.project.sh("submit", "--name", "no", "true")
        assert "failure: cluster-code-changed" in refused.stderr
        assert refused.returncode != 0
        assert not site.folder("no").exists()
        site.output("go").touch()
        site.end(record)
    finally:
        site.project.write("src/demo/version.py", CODE["src/demo/version.py"])
    (seen,) = site.printed("first")
    head = site.slurm.call("git", "rev-parse", "HEAD", cwd=site.project.folder).strip()
    assert record["commit"] == head
    assert (seen["version"], seen["uid"]) == ("committed", site.slurm.user.uid)
    assert (seen["home"], seen["foreign"]) == (f"/tmp/job-{record['id']}", None)
    assert seen["from"].startswith("/workspace/")
    # The file works without Hearth.
    file = site.folder("first") / "job.sh"
    assert len(file.read_text().splitlines()) < 60
    number = site.slurm.call("sbatch", "--parsable", file, cwd=Path("/")).strip()
    site.end({"id": number, "name": "first"})
    assert '"version": "committed"' in (file.parent / f"{number}.out").read_text()


def test_tasks_of_a_node_share_an_installation(site: Site) -> None:
    words = ("--tasks", "2", "--cpus", "2", "--nodes", "2", "python", "-m", "demo.place")
    seen = site.result("tasks", *words)
    ranks = [(one["node"], one["rank"], one["local"], one["size"]) for one in seen]
    wanted = [("n1", "0", "0"), ("n1", "1", "1"), ("n2", "2", "0"), ("n2", "3", "1")]
    assert sorted(ranks) == [(*one, "4") for one in wanted]
    assert len({(one["node"], one["installed"]) for one in seen}) == 2
    said = site.project.sh("logs", "tasks")
    assert (said.stdout + said.stderr).count("installing the project") == 2


def test_torchrun_on_two_nodes_computes_a_right_sum(site: Site) -> None:
    seen = site.result("reduce", "--nodes", "2", "torchrun", "-m", "demo.reduce")
    assert sorted((one["node"], one["rank"], one["sum"]) for one in seen) == [
        ("n1", 0, [0, 3, 6]),
        ("n2", 1, [0, 3, 6]),
    ]
    # What torchrun leaves among its temporary files is removed with the home of the job.
    left = [one.name for one in site.slurm.folder.glob("n?/tmp/*")]
    assert not [name for name in left if not name.startswith("job-")]


def test_the_tasks_of_an_array_have_their_own_output_and_status(site: Site) -> None:
    command = 'export STATUS="$SLURM_ARRAY_TASK_ID"; exec python -m demo.place'
    record = site.submit("array", "--array", "0,7", "sh", "-c", command)
    for index, state, status in (("0", "COMPLETED", "0:0"), ("7", "FAILED", "7:0")):
        known = site.slurm.wait(f"{record['id']}_{index}", "COMPLETED", "FAILED")
        assert (known["JobState"], known["ExitCode"]) == (state, status), site.said("array")
    assert sorted(one["task"] for one in site.printed("array")) == ["0", "7"]


def test_a_cancelled_job_gets_the_signal(site: Site) -> None:
    record = site.submit("cancelled", "python", "-m", "demo.train", "cancelled")
    wait_for(site.output("cancelled-started"))
    site.project.ok("cancel", "cancelled")
    site.end(record, "CANCELLED")
    wait_for(site.output("cancelled"))
    assert "CANCELLED" in site.project.ok("jobs")


@contextmanager
def submitter(site: Site) -> Iterator[Path]:
    """`airflow submitter` of the user, until Ctrl-C; the folder that tasks of Airflow share."""
    user, folder = site.slurm.user, site.project.docker / ".airflow/jobs"
    words = [*user.prefix(), str(site.project.docker / "template.sh"), "airflow", "submitter"]
    with subprocess.Popen(words, cwd=site.project.folder, env=user.environment()) as process:
        try:
            wait_for(folder / requests.SERVING)
            yield folder
            process.send_signal(signal.SIGINT)
            assert process.wait(240) == 130
        finally:
            process.kill()


def airflow_task(folder: Path, *command: str) -> str:
    """What the operator does in a task; the name of the job."""
    key = requests.key_of(command[-1].rpartition(".")[2], "1")
    requests.ask(folder, key, requests.request_of(command, key, on="slurm"))
    return key


def end_of_task(folder: Path, key: str) -> tuple[list[str], dict[str, Any]]:
    """What the trigger tells of a job until its end: the lines of the log, and the last state."""
    watch, told = requests.Watch(folder, key), []
    end = time.monotonic() + 600
    while True:
        lines, state = watch.look()
        told += lines
        if state:
            return told, state
        assert time.monotonic() < end, told
        time.sleep(0.5)


def test_tasks_of_airflow_submit_jobs_and_get_their_ends(site: Site) -> None:
    with submitter(site) as folder:
        key = airflow_task(folder, "python", "-m", "demo.place")
        cancelled = airflow_task(folder, "python", "-m", "demo.train", "airflow")
        failing = airflow_task(folder, "sh", "-c", "echo $(( 40 + 2 )); exit 7")
        wait_for(site.output("airflow-started"))
        requests.cancel(folder, cancelled)
    with submitter(site):  # another one goes on where the first one was ended
        told, state = end_of_task(folder, key)
        result = requests.result_of(key, state)
        assert (result["state"], result["status"]) == ("COMPLETED", 0)
        (seen,) = [json.loads(line) for line in told if line.startswith("{")]
        assert seen["version"] == "committed"
        told, state = end_of_task(folder, failing)
        assert (state["outcome"], state["status"]) == ("failed", 7)
        assert "42" in told
        _, state = end_of_task(folder, cancelled)
        assert state["outcome"] == "cancelled"
    wait_for(site.output("airflow"))  # what the program writes at the signal
    for name in (key, failing, cancelled):
        number = json.loads((site.folder(name) / "job.json").read_text())["id"]
        assert site.slurm.job(number)["JobName"] == name


def test_a_sif_is_made_of_what_the_registry_has(site: Site, registry: Registry) -> None:
    published, file = f"{registry.address}/team/demo", "docker-amd64/deploy/site.toml"
    before = (site.project.folder / file).read_text()
    site.project.ok("publish", published)
    digest = registry.digest("team/demo", "latest")
    registry.forget()  # the engine has it no more
    site.project.write(file, before.replace("[image]", f'[image]\nname = "{published}"'))
    try:
        made = site.project.ok("sif").strip()
        script = site.project.ok("submit", "--dry-run", "--dirty", "python", "-m", "demo.place")
    finally:
        site.project.write(file, before)
    assert json.loads(Path(f"{made}.json").read_text())["digest"] == digest
    assert f"# Image: {digest}" in script
    assert made in script
    what = "import sys, torch; print(sys.prefix, torch.ones(2).sum().item())"
    said = site.slurm.call("apptainer", "exec", made, "python", "-c", what, cwd=Path("/"))
    assert said.split() == ["/opt/venv", "2.0"]


def test_what_slurm_would_refuse_or_never_start_is_refused(site: Site) -> None:
    for id_, env in ("slurm-partition", {"CLUSTER_PARTITION": "nope"}), ("slurm-time", {}):
        refused = site.project.sh("submit", "--name", "no", "--time", "1h", "true", env=env)
        assert f"failure: {id_}" in refused.stderr
        assert refused.returncode != 0
        assert not site.folder("no").exists()


def test_a_job_that_is_warned_writes_its_checkpoint_and_goes_on(
    site: Site, warned: dict[str, Any]
) -> None:
    wait_for(site.output("warned"))
    if site.slurm.wait(warned["id"], "PENDING", *ENDS)["JobState"] == "PENDING":
        # Slurm would wait two minutes, for a node that is slow to clean up.
        site.slurm.call("scontrol", "update", f"JobId={warned['id']}", "StartTime=now")
    assert site.end(warned)["Restarts"] == "1"
    checkpoint = json.loads(site.output("warned").read_text())
    assert checkpoint["signals"] == [signal.SIGTERM]
    assert site.printed("warned") == [{"goes on at": checkpoint["step"]}]
