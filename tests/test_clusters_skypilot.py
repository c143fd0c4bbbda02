"""Jobs of SkyPilot: the task file, what its nodes run, and what the client is asked.

With HEARTH_SKYPILOT=PYTHON, a Python that has SkyPilot, its own parser reads the task files, and
its own dry run plans them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from host.clusters import job_file, skypilot
from host.clusters.job import JUPYTER, SHELL, Code, Job, Record, Request
from host.project import StopError
from tests.support.cluster_job import ANSWERS, COMMIT, DIGEST, job_of, site_of, write
from tests.support.process import run

SCHEMA = yaml.safe_load((Path(__file__).parent / "support/skypilot_schema.yml").read_text())
ODD = 'it\'s "quoted" $(id) `id` $HOME\n: # ä'
BUCKETS = [
    {"source": "s3://team-data", "path": "/data"},
    {"source": "s3://team-results", "path": "/outputs", "mode": "MOUNT_CACHED"},
]
REAL_SKYPILOT = os.environ.get("HEARTH_SKYPILOT", "")
# What SkyPilot itself makes of task files; it also checks them against its own schema.
PARSER = """\
import json, sys
import sky

for file in sys.argv[1:]:
    task = sky.Task.from_yaml(file)
    (what,) = task.resources
    print(json.dumps([task.name, task.num_nodes, dict(task.envs), task.run, what.accelerators]))
"""
# `sky launch --dryrun` for one cloud, in process: only that the cloud may be used, and the project
# of an account there, is said for SkyPilot. All else is its own.
DRY_RUN = """\
import sys
import sky
import sky.check
from sky import clouds, execution
from sky.provision.nebius import utils

sky.check.get_cached_enabled_clouds_or_refresh = lambda *_, **__: [clouds.Nebius()]
utils.get_project_by_region = lambda _: "project"
for file in sys.argv[1:]:
    try:
        execution.launch(sky.Task.from_yaml(file), cluster_name="here", dryrun=True)
    except sky.exceptions.ResourcesUnavailableError:
        print("no machine has that")
"""
# Two machines of the catalog that SkyPilot would fetch (github.com/skypilot-org/skypilot-catalog,
# catalogs/v8/nebius/vms.csv, without GpuInfo), and the names of its GPUs.
CATALOG = {
    "nebius/vms.csv": """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
cpu-d3_16vcpu-64gb,,0,16,64,0.3968,eu-north1,,
gpu-h100-sxm_1gpu-16vcpu-200gb,H100,1,16,200,2.95,eu-north1,,1.25
gpu-h100-sxm_8gpu-128vcpu-1600gb,H100,8,128,1600,23.60,eu-north1,,10.00
""",
    "common/accelerators.csv": "AcceleratorName,Clouds\nH100,['nebius']\n",
}
# Says what the entrypoint is called with, by the environment that programs look at.
ENTRYPOINT = f"""\
#!{sys.executable}
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]))
"""


def request(*command: str, **values: Any) -> Request:
    return Request("skypilot", "train", command, **values)


def make(folder: Path, asked: Request, *, code: Code | None = None, **values: Any) -> Job:
    """A job, for a site with these values in [skypilot]; other tables by their names."""
    others = ("image", "storage", "environment")
    tables = {key: values.pop(key) for key in others if key in values}
    extras = {"extras": values.pop("extras", ["sudo"])}
    site = site_of("skypilot", skypilot={"accelerator": "H100", **values}, **tables)
    return job_of(folder, site, asked, code=code, **extras)


def task(job: Job) -> dict[str, Any]:
    """The task, which is one of SkyPilot's."""
    skypilot.check(job.project, job.site, job.request)
    (file,) = write(job, skypilot.files(job))
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA)
    return found


def on_node(
    job: Job, folder: Path, rank: str = "0", **environ: str
) -> tuple[list[str], dict[str, str]]:
    """What the entrypoint is called with on a node, and its environment."""
    program = folder / "entrypoint.sh"
    program.write_text(ENTRYPOINT)
    program.chmod(0o755)
    profile = folder / "project.sh"
    profile.write_text("PATH=/opt/venv/bin:$PATH\n")
    script = task(job)["run"].replace(job_file.ENTRYPOINT, str(program))
    script = script.replace("/etc/profile.d/project.sh", str(profile))
    script = script.replace(job_file.TOKEN_FILE, str(folder / "token"))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8",
            "SKYPILOT_NUM_NODES": str(job.request.nodes),
            "SKYPILOT_NODE_RANK": rank,
            **environ,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    words, found = json.loads(done.stdout)
    return words, found


def test_a_task_has_what_was_asked_for(tmp_path: Path) -> None:
    job = make(
        tmp_path,
        request(
            "python",
            "train.py",
            ODD,
            nodes=2,
            gpus=8,
            cpus=16,
            memory=100 << 30,
            requeue=2,
            verify=True,
            seconds=3600,
            environment={"LR": ODD, "BATCH": "8"},
        ),
        infra="aws/eu-central-1",
        spot=True,
        disk=200 << 30,
        buckets=BUCKETS,
        secrets=["HF_TOKEN"],
        storage={"data": "/data/cifar", "outputs": "/scratch/elsewhere"},
        environment={"BATCH": "4", "SITE": "x"},
    )
    found = task(job)
    assert found["num_nodes"] == 2
    assert found["workdir"] == "/mnt/code/demo"
    assert found["resources"] == {
        "infra": "aws/eu-central-1",
        "image_id": f"docker:registry.example:5000/team/demo@{DIGEST}",
        "accelerators": "H100:8",
        "cpus": "16+",
        "memory": "100+",
        "disk_size": 200,
        "use_spot": True,
        "job_recovery": {"max_restarts_on_errors": 2},
    }
    assert found["file_mounts"]["/data"] == {"source": "s3://team-data", "mode": "MOUNT"}
    # A folder of another cluster of the site is not on these machines.
    assert found["envs"] == {
        "DATA_DIR": "/data/cifar",
        "VERIFY_FIRST": "1",
        "REQUIRE_GPU": "1",
        "LR": ODD,
        "BATCH": "8",
        "SITE": "x",
    }
    assert found["secrets"] == {"HF_TOKEN": None}
    text = (job.folder / "task.yaml").read_text()
    assert len(text.splitlines()) < 60
    assert COMMIT[:12] in text
    assert ANSWERS in text


@pytest.mark.skipif(not REAL_SKYPILOT, reason="HEARTH_SKYPILOT names no Python with SkyPilot")
def test_skypilot_itself_reads_the_task(tmp_path: Path) -> None:
    code = Code(tmp_path, COMMIT)
    storage = {"data": "/data", "outputs": "/outputs"}
    for name in "1234":
        (tmp_path / name).mkdir()
    jobs = [
        make(tmp_path / "1", request("python", ODD, "", gpus=1, cpus=4, memory=2**35), code=code),
        make(
            tmp_path / "2",
            request("torchrun", "x.py", gpus=8, nodes=2, seconds=3600, environment={"A": ODD}),
            code=code,
            infra="aws/us-east-1",
            spot=True,
            disk=2**38,
        ),
        make(
            tmp_path / "3",
            request("a", requeue=3, verify=True),
            code=code,
            buckets=BUCKETS,
            secrets=["HF_TOKEN"],
            storage=storage,
        ),
        make(tmp_path / "4", Request("skypilot", "dev", (), door=SHELL, gpus=1), code=code),
    ]
    wanted = []
    for job in jobs:
        found = task(job)
        gpus = found["resources"].get("accelerators")
        gpus = {gpus.split(":")[0]: int(gpus.split(":")[1])} if gpus else None
        nodes, variables = found.get("num_nodes", 1), found.get("envs", {})
        wanted.append([found["name"], nodes, variables, found["run"], gpus])
    done = subprocess.run(
        [REAL_SKYPILOT, "-c", PARSER, *(str(job.folder / "task.yaml") for job in jobs)],
        env={**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == wanted


def dry_run(folder: Path, jobs: list[Job]) -> subprocess.CompletedProcess[str]:
    """SkyPilot's dry runs of jobs, with a home that has the catalog."""
    for name, rows in CATALOG.items():
        file = folder / ".sky/catalogs/v8" / name
        file.parent.mkdir(parents=True)
        file.write_text(rows)
    programs = folder / "programs"
    programs.mkdir()
    for name in ("rsync", "socat"):  # it wants them to be there, and a dry run copies nothing
        (programs / name).symlink_to("/bin/true")
    path = f"{programs}:{os.environ['PATH']}"
    quiet = {"HOME": str(folder), "PATH": path, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    files = [job.folder / "task.yaml" for job in jobs if task(job)]
    return run(REAL_SKYPILOT, "-c", DRY_RUN, *files, env={**os.environ, **quiet})


@pytest.mark.skipif(not REAL_SKYPILOT, reason="HEARTH_SKYPILOT names no Python with SkyPilot")
def test_skypilot_itself_plans_the_task(tmp_path: Path) -> None:
    refused = "no machine has that"
    nodes = request("torchrun", "x.py", gpus=8, nodes=2, seconds=3600, environment={"A": ODD})
    of_nodes: dict[str, Any] = {"infra": "nebius/eu-north1", "spot": True, "disk": 2**38}
    door = Request("skypilot", "dev", (), door=SHELL, gpus=1)
    wanted: list[tuple[Request, dict[str, Any], str]] = [
        (request("python", ODD, gpus=1, cpus=4, memory=2**35), {}, "gpu-h100-sxm_1gpu"),
        (nodes, of_nodes, "gpu-h100-sxm_8gpu"),
        (request("a", requeue=3, verify=True, cpus=8), {}, "cpu-d3_16vcpu"),
        (door, {}, "gpu-h100-sxm_1gpu"),
        (request("a", gpus=3), {}, refused),
        (request("a", gpus=1), {"accelerator": "H1000"}, refused),
    ]
    jobs = []
    for number, (asked, values, _) in enumerate(wanted):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        jobs.append(make(folder, asked, code=Code(tmp_path, COMMIT), **values))
    done = dry_run(tmp_path, jobs)
    said = re.findall(f" (gpu-h100-sxm_.gpu|cpu-d3_16vcpu)|({refused})", done.stdout)
    planned = [one or other for one, other in said]
    assert planned == [planned for _, _, planned in wanted], done.stdout + done.stderr
    assert done.stdout.count("Dryrun finished.") == len([one for one in planned if one != refused])


def test_outputs_that_nothing_keeps_are_said(tmp_path: Path) -> None:
    for number, (outputs, is_kept) in enumerate(
        {"": False, "/mnt": False, "/data/o": True}.items()
    ):
        job = make(
            tmp_path / str(number), request("true"), buckets=BUCKETS, storage={"outputs": outputs}
        )
        text = skypilot.files(job)["task.yaml"]
        assert ("Nothing keeps" in text, "OUTPUTS_DIR" in text) == (not is_kept, is_kept)


def test_the_entrypoint_is_called_in_the_image_s_environment_with_the_words_as_they_are(
    tmp_path: Path,
) -> None:
    job = make(tmp_path, request("python", "train.py", ODD, seconds=60))
    words, environ = on_node(job, tmp_path)
    assert words == ["timeout", "--kill-after=120", "60", "python", "train.py", ODD]
    assert environ["PATH"].startswith("/opt/venv/bin:")
    assert environ["VIRTUAL_ENV"] == "/opt/venv"
    assert environ["CODE_DIR"] == str(tmp_path)


def test_the_nodes_of_torchrun_meet_on_the_first(tmp_path: Path) -> None:
    job = make(tmp_path, request("torchrun", "train.py", nodes=2, gpus=8))
    words, environ = on_node(job, tmp_path, rank="1")
    assert words == ["torchrun", "train.py"]
    assert (environ["MASTER_ADDR"], environ["MASTER_PORT"]) == ("10.0.0.7", "29500")
    assert (environ["PET_NNODES"], environ["PET_NPROC_PER_NODE"]) == ("2", "8")


@pytest.mark.parametrize("door", [SHELL, JUPYTER])
def test_an_interactive_job_is_a_machine_that_deletes_itself(tmp_path: Path, door: str) -> None:
    job = make(tmp_path, request(door=door), idle=1800)
    assert task(job)["resources"]["autostop"] == {
        "idle_minutes": 30,
        "down": True,
        "wait_for": "jobs_and_ssh",
    }
    words, environ = on_node(job, tmp_path)
    if door == JUPYTER:
        token = Path(environ["JUPYTER_TOKEN_FILE"])
        assert len(token.read_text()) > 20
        assert token.stat().st_mode & 0o777 == 0o600
        assert not any(token.read_text() in word for word in words)
    assert all("ssh" in line and "train" in line for line in skypilot.enter(job, "train"))


@pytest.mark.parametrize(
    ("asked", "values", "name"),
    [
        (request("a", array="0-3"), {}, "cluster-option-missing"),
        (request("a", tasks=2), {}, "cluster-option-missing"),
        (request("a", gpus=1), {"accelerator": ""}, "site-value"),
        (request("a", gpus=1), {"accelerator": "H100:8"}, "site-value"),
        (request("a"), {"buckets": [{"source": "team", "path": "/x"}]}, "site-value"),
        (request("a"), {"buckets": [{"source": "s3://team", "path": "x"}]}, "site-value"),
        (request("a"), {"buckets": [{**BUCKETS[0], "mode": "SYNC"}]}, "site-value"),
        (request("a"), {"secrets": ["HF_TOKEN=hf_abc"]}, "site-value"),
        (request(door=SHELL), {"extras": [], "image": {"dev": "x/dev"}}, "cluster-skypilot-sudo"),
        (request("a"), {"code": Code(None, COMMIT, archive=b"x")}, "cluster-code-folder"),
    ],
)
def test_what_skypilot_cannot_do_is_refused(
    tmp_path: Path, asked: Request, values: dict[str, Any], name: str
) -> None:
    job = make(tmp_path, asked, **values)
    with pytest.raises(StopError) as caught:
        task(job)
    assert caught.value.name == name


def test_the_command_that_adds_sudo_keeps_the_other_extras(tmp_path: Path) -> None:
    job = make(tmp_path, request(door=SHELL), extras=["ssh", "jupyter"], image={"dev": "x/dev"})
    with pytest.raises(StopError) as caught:
        task(job)
    assert shlex.split(caught.value.command)[-1] == "extras=[ssh, jupyter, sudo]"


# As 0.14.1 prints them: `sky jobs queue --output json`, `sky status --output json`.
QUEUE = [
    {"job_id": 3, "job_name": "train", "status": "FAILED"},
    {"job_id": 7, "job_name": "train", "status": "RUNNING"},
    {"job_id": 8, "job_name": "other", "status": "PENDING"},
]
CLUSTERS = [{"name": "dev", "status": "UP", "autostop": 60}]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """A stand-in for sky, and what it was called with."""
    file = tmp_path / "calls"
    program = tmp_path / "bin" / "sky"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"open({str(file)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"if '--output' in sys.argv: print('Hint: ...', {json.dumps(QUEUE)!r} if 'queue' in"
        f" sys.argv else {json.dumps(CLUSTERS)!r}, sep='\\n')\n"
        "if os.environ.get('FAILS'): sys.exit('not enabled')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def record(job: Job, **values: Any) -> Record:
    empty = dict.fromkeys(Record._fields, "")
    known = {"name": "train", "id": "7", "nodes": 1, "gpus": 0, "command": ("a",)}
    return Record(**{**empty, **known, "cluster": "skypilot", "folder": job.folder, **values})


def test_the_client_is_given_the_task_and_asked_about_it(
    tmp_path: Path, calls: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(tmp_path, request("a"), secrets=["HF_TOKEN"])
    (file,) = write(job, skypilot.files(job))
    assert skypilot.submit(job) == "7"  # the newest of this name
    interactive = make(tmp_path, Request("skypilot", "dev", (), door=SHELL))
    write(interactive, skypilot.files(interactive))
    assert skypilot.submit(interactive) == "dev"
    one, machine = record(job), record(job, name="dev", id="dev", door=SHELL)
    gone = record(job, name="gone", id="1")
    assert skypilot.states(job.project, job.site, (one, machine, gone)) == {
        "train": "RUNNING",
        "dev": "UP",
    }
    skypilot.logs(job.project, job.site, one, True)
    skypilot.logs(job.project, job.site, machine, False)
    skypilot.cancel(job.project, job.site, one)
    skypilot.cancel(job.project, job.site, machine)
    flags = ["--yes", "--detach-run"]
    dev = str(interactive.folder / "task.yaml")
    assert calls() == [
        ["jobs", "launch", *flags, "--secret", "HF_TOKEN", str(file)],
        ["jobs", "queue", "--output", "json"],
        ["launch", "--cluster", "dev", *flags, dev],
        ["jobs", "queue", "--all", "--output", "json"],
        ["status", "--output", "json"],
        ["jobs", "logs", "--follow", "7"],
        ["logs", "--no-follow", "dev"],
        ["jobs", "cancel", "--yes", "7"],
        ["down", "--yes", "dev"],
    ]
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(StopError) as caught:
        skypilot.submit(job)
    assert caught.value.name == "cluster-skypilot-failed"
    assert "not enabled" in caught.value.sentence
