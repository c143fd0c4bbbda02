"""Jobs of Run:ai: what its command line is given, and what reaches the command in the pod."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.clusters import runai, skypilot
from host.clusters.job import JUPYTER, SHELL, SSH, Code, Job, Record, Request
from host.project import StopError
from tests.support.cluster_job import ANSWERS, COMMIT, DIGEST, job_of, site_of, write

DOCUMENTED = yaml.safe_load((Path(__file__).parent / "support/runai_options.yml").read_text())
OWN = {
    "project": "team-a",
    "claims": [{"claim": "scratch", "path": "/scratch", "here": "/mnt/code"}],
}
# It says what it was called with, and answers as the file beside it says.
STAND_IN = f"""\
#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
sys.stdout.write(os.environ.get("ANSWER", ""))
sys.stderr.write(os.environ.get("ERROR", ""))
sys.exit(bool(os.environ.get("ERROR")))
"""


class Client:
    """A stand-in for runai, which no registry has."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in front of PATH."""
        self.file, self.monkeypatch = folder / "calls", monkeypatch
        program = folder / "bin" / "runai"
        program.parent.mkdir()
        program.write_text(STAND_IN)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("CALLS", str(self.file))

    def calls(self) -> list[list[str]]:
        """Its arguments, call by call."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def says(self, answer: str = "", *, error: str = "") -> None:
        """What it says from now on; it fails with an error."""
        self.monkeypatch.setenv("ANSWER", answer)
        self.monkeypatch.setenv("ERROR", error)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client(tmp_path, monkeypatch)


def request(*command: str, **values: Any) -> Request:
    return Request("runai", "train", command, **values)


def make(folder: Path, asked: Request, *, code: Code | None = None, **values: Any) -> Job:
    """A job, for a site with these values in [runai]; other tables by their names."""
    tables = {key: values.pop(key) for key in ("storage", "environment") if key in values}
    return job_of(folder, site_of("runai", runai={**OWN, **values}, **tables), asked, code=code)


def submitted(client: Client, job: Job) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """The verb, the options with their values, and the words of the container's command."""
    write(job, runai.files(job))
    assert runai.submit(job) == job.request.name
    words = client.calls()[-1]
    return read_call(words)


def read_call(words: list[str]) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """A call, whose options are those that the documentation of its verb has."""
    cut = words.index("--")
    words, command = words[:cut], words[cut + 1 :]
    first = next(at for at, word in enumerate(words) if word.startswith("-"))
    verb = words[:first]
    version = DOCUMENTED["v1" if verb[0].startswith("submit") else "v2"]
    kind = " ".join(verb if verb[0].startswith("submit") else verb[: verb.index("submit")])
    known = [version["every"], version[kind]]
    options: dict[str, list[str]] = {}
    rest = iter(words[first:])
    for name in rest:
        if any(name in one["flags"] for one in known):
            options.setdefault(name, [])
        else:
            assert any(name in one["valued"] for one in known), f"{kind} has no {name}"
            options.setdefault(name, []).append(next(rest))
    return verb, options, command


def in_pod(options: dict[str, list[str]], command: list[str]) -> list[str]:
    """What the entrypoint starts and hands over, when Run:ai loses the quotes of the command."""
    joined = " ".join(f"'{flat}'" if " " in flat else flat for flat in map(unquoted, command))
    words = shlex.split(joined)
    if words[0] == "bash":
        variables = dict(one.split("=", 1) for one in options["-e"])
        show = f"{shlex.quote(sys.executable)} -c 'import json,sys;print(json.dumps(sys.argv[1:]))'"
        asked = subprocess.run(
            ["bash", "-c", f'exec() {{ {show} "$@"; }}; {words[2]}'],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        words = json.loads(asked.stdout)
    return words


def unquoted(word: str) -> str:
    return re.sub("['\"]", "", word)


def check_and_render(job: Job) -> dict[str, str]:
    runai.check(job.project, job.site, job.request)
    return runai.files(job)


def refused(project_folder: Path, asked: Request, **values: Any) -> str:
    """The id of the failure of a request."""
    job = make(project_folder, asked, **values)
    with pytest.raises(StopError) as caught:
        check_and_render(job)
    return caught.value.name


@pytest.mark.parametrize("cli", ["v2", "v1"])
def test_a_job_asks_for_what_was_asked_for(client: Client, tmp_path: Path, cli: str) -> None:
    asked = request(
        "python", "train.py", gpus=2, cpus=16, memory=64 << 30, environment={"LR": "a b"}
    )
    storage = {"data": "/scratch/data", "outputs": "/mnt/code/out"}
    job = make(
        tmp_path,
        asked,
        cli=cli,
        node_pools=["h100", "a100"],
        secrets={"HF_TOKEN": "tokens/hf"},
        storage=storage,
        environment={"LR": "1", "SITE": "x"},
    )
    runai.check(job.project, job.site, asked)
    verb, options, command = submitted(client, job)
    v1 = cli == "v1"
    assert verb == (["submit"] if v1 else ["training", "standard", "submit", "train"])
    if v1:
        assert options["--name"] == ["train"]
    assert options["--image"] == [f"registry.example:5000/team/demo@{DIGEST}"]
    assert options["--project"] == ["team-a"]
    assert options["--gpu" if v1 else "--gpu-devices-request"] == ["2"]
    assert options["--cpu" if v1 else "--cpu-core-request"] == ["16"]
    assert options["--memory" if v1 else "--cpu-memory-request"] == ["64Gi"]
    assert options["--node-pools"] == (["h100,a100"] if v1 else ["h100", "a100"])
    assert (options["--run-as-uid"], options["--run-as-gid"]) == (["4711"], ["815"])
    if v1:
        assert options["--pvc"] == ["scratch:/scratch"]
        assert "HF_TOKEN=SECRET:tokens,hf" in options["-e"]
    else:
        assert options["--existing-pvc"] == ["claimname=scratch,path=/scratch"]
        assert options["--env-secret"] == ["HF_TOKEN=tokens,key=hf"]
    # The folders are written as this machine has them, and as pods do.
    assert options["--working-dir"] == ["/scratch/demo"]
    variables = dict(one.split("=", 1) for one in options["-e"])
    assert variables["CODE_DIR"] == "/scratch/demo"
    assert variables["DATA_DIR"] == "/scratch/data"
    assert variables["OUTPUTS_DIR"] == "/scratch/out"
    assert variables["CONTAINER_HOME"] == "/tmp/job-train"
    assert (variables["LR"], variables["SITE"]) == ("a b", "x")
    # A failed command is not repeated six times.
    assert options["--backoff-limit"] == ["0"]
    assert "--large-shm" in options
    assert command == ["python", "train.py"]


@pytest.mark.parametrize("cli", ["v2", "v1"])
def test_several_nodes_are_a_pytorch_workload(client: Client, tmp_path: Path, cli: str) -> None:
    job = make(tmp_path, request("torchrun", "train.py", nodes=3, gpus=4), cli=cli)
    verb, options, command = submitted(client, job)
    assert verb[:2] == (["submit-dist", "pytorch"] if cli == "v1" else ["training", "pytorch"])
    assert options["--workers"] == ["2"]  # beside the master
    assert "PET_NPROC_PER_NODE=4" in options["-e"]
    assert command == ["torchrun", "train.py"]


@pytest.mark.parametrize("cli", ["v2", "v1"])
@pytest.mark.parametrize(
    "words",
    [
        ("python", "train.py", "--name", 'it\'s "quoted" $(id) `id` $HOME'),
        ("sh", "-c", "echo a\necho b; echo 'END'\nEND\n"),
        ("sh", "-c", "a\rEND\rtouch x\x0cEND\u2028END\x0b\x1c", ""),
        ("python", "", "ä ö", "*", "~", "x" * 5000, "a\u2028b\x85c", "d\r\x0b"),
    ],
)
def test_every_word_of_the_command_arrives(
    client: Client, tmp_path: Path, cli: str, words: tuple[str, ...]
) -> None:
    job = make(tmp_path, request(*words), cli=cli)
    _, options, command = submitted(client, job)
    assert in_pod(options, command) == list(words)


def test_kubernetes_replaces_nothing_in_variables(client: Client, tmp_path: Path) -> None:
    asked = request("true", environment={"A": "$(CODE_DIR) $$", "B": "$HOME", "EMPTY": ""})
    _, options, _ = submitted(client, make(tmp_path, asked))
    assert {"A=$$(CODE_DIR) $$$$", "B=$HOME", "EMPTY="} <= set(options["-e"])


def test_the_time_limit_is_in_the_command_because_run_ai_has_none(
    client: Client, tmp_path: Path
) -> None:
    job = make(tmp_path, request("python", "train.py", seconds=3600, requeue=3))
    _, options, command = submitted(client, job)
    assert command == ["timeout", "--kill-after=120", "3600", "python", "train.py"]
    assert options["--backoff-limit"] == ["3"]


@pytest.mark.parametrize("cli", ["v2", "v1"])
@pytest.mark.parametrize("door", [SHELL, JUPYTER])
def test_an_interactive_job_waits_for_its_user(
    client: Client, tmp_path: Path, cli: str, door: str
) -> None:
    job = make(
        tmp_path,
        request(door=door, seconds=7200),
        cli=cli,
        preemptible=True,
        storage={"home": "/scratch/home"},
    )
    verb, options, command = submitted(client, job)
    assert "CONTAINER_HOME=/scratch/home" in options["-e"]
    if cli == "v1":
        assert "--interactive" in options
        assert "--preemptible" in options
    else:
        assert verb[0] == "workspace"
        assert options["--preemptibility"] == ["preemptible"]
    if door == SHELL:
        assert command == ["sleep", "7200"]
    else:
        started = in_pod(options, command)
        assert started[:4] == ["timeout", "7200", "jupyter", "lab"]
        assert not any("token=" in word.lower() for word in [*options["-e"], *started])
    assert all("train" in line for line in runai.enter(job, "train"))


def test_the_file_is_one_that_people_read(tmp_path: Path) -> None:
    job = make(tmp_path, request("python", "a b", gpus=1, seconds=60), node_pools=["h100"])
    (file,) = write(job, runai.files(job))
    lines = file.read_text().splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 120
    head = "\n".join(lines[:6])
    assert COMMIT[:12] in head
    assert ANSWERS in head
    subprocess.run(["bash", "-n", str(file)], check=True)
    # $JOB_COMMAND is for the shell in the pod.
    linter = Path(sys.executable).parent / "shellcheck"
    subprocess.run([linter, "--norc", "--exclude=SC2016", file], check=True)


@pytest.mark.parametrize("module", [runai, skypilot])
def test_no_label_of_an_image_becomes_a_line_of_a_file(tmp_path: Path, module: Any) -> None:
    name = module.__name__.rpartition(".")[2]
    site = site_of(name, **({"runai": OWN} if module is runai else {}))
    job = job_of(tmp_path, site, Request(name, "train", ("a",)))
    evil = job._replace(image=job.image._replace(answers=f"{ANSWERS}\nrm -rf ~"))
    (text,) = module.files(evil).values()
    assert "rm -rf" not in text


@pytest.mark.parametrize(
    ("asked", "values", "name"),
    [
        (request("a", array="0-3"), {}, "cluster-option-missing"),
        (request("a", tasks=2), {}, "cluster-option-missing"),
        (request(door=SSH), {}, "cluster-option-missing"),
        (request("a"), {"project": ""}, "cluster-runai-project"),
        (request("a"), {"project": "a b"}, "cluster-runai-project"),
        (request("a"), {"claims": []}, "site-value"),
        (request("a"), {"claims": [{"claim": "x", "path": "scratch"}]}, "site-value"),
        (request("a"), {"claims": [{"path": "/scratch"}]}, "site-value"),
        (request("a"), {"secrets": {"HF_TOKEN": "hf_abc"}}, "site-value"),
        (request("a"), {"node_pools": ["$(id)"]}, "site-value"),
        (request("a"), {"credential": "a,b"}, "site-value"),
        (request("a"), {"cli": "v1", "priority": "high"}, "site-value"),
        (request("a"), {"storage": {"outputs": "/elsewhere"}}, "site-value"),
        (request("a"), {"code": Code(None, COMMIT, archive=b"x")}, "cluster-code-folder"),
    ],
)
def test_what_run_ai_cannot_do_is_refused(
    tmp_path: Path, asked: Request, values: dict[str, Any], name: str
) -> None:
    assert refused(tmp_path, asked, **values) == name


def record(job: Job, **values: Any) -> Record:
    empty = dict.fromkeys(Record._fields, "")
    known = {"name": "train", "id": "train", "nodes": 1, "gpus": 0, "command": ("a",)}
    return Record(**{**empty, **known, "cluster": "runai", "folder": job.folder, **values})


TABLE = """\
NAME    STATUS   AGE  NODE      IMAGE  TYPE   PROJECT  USER  GPUs Allocated (Requested)
train   Running  9s   worker-1  demo   Train  team-a   mara  0.50 (0.50)
other   Failed   9s   worker-1  demo   Train  team-a   mara  0.50 (0.50)
"""
JSON = {"workloads": [{"name": "train", "phase": "Running", "meta": {"name": "other"}}]}


def test_the_client_is_asked_for_states_and_logs_and_told_to_delete(
    client: Client, tmp_path: Path
) -> None:
    job = make(tmp_path, request("a"))
    one = record(job)
    client.says(f"A new version is available.\n{json.dumps(JSON)}")
    assert runai.states(job.project, job.site, (one, record(job, name="x", id="x"))) == {
        "train": "Running"
    }
    assert runai.logs(job.project, job.site, one, True) == 0
    assert runai.logs(job.project, job.site, record(job, nodes=2), False) == 0
    assert runai.logs(job.project, job.site, record(job, door=SHELL), False) == 0
    runai.cancel(job.project, job.site, one)
    old = make(tmp_path, request("a"), cli="v1")
    client.says(TABLE)
    assert runai.states(old.project, old.site, (one,)) == {"train": "Running"}
    runai.logs(old.project, old.site, one, False)
    runai.cancel(old.project, old.site, one)
    where = ["-p", "team-a"]
    assert client.calls() == [
        ["workload", "list", "--json", *where],
        ["training", "standard", "logs", "train", *where, "--follow"],
        ["training", "pytorch", "logs", "train", *where],
        ["workspace", "logs", "train", *where],
        ["workload", "delete", "-y", *where, "train"],
        ["list", "jobs", *where],
        ["logs", "train", *where],
        ["delete", "job", *where, "train"],
    ]


def test_folders_that_a_job_writes_to_are_made_where_this_machine_sees_them(
    client: Client, tmp_path: Path
) -> None:
    here, gone = tmp_path / "scratch", tmp_path / "gone"
    here.mkdir()
    claims = [
        {"claim": "gone", "path": "/gone", "here": str(gone)},
        {"claim": "scratch", "path": "/scratch", "here": str(here)},
    ]
    job = make(
        tmp_path,
        request(door=SHELL),
        claims=claims,
        code=Code(here / "code", COMMIT),
        storage={"outputs": "/scratch/out/mara", "home": f"{here}/home"},
    )
    _, options, _ = submitted(client, job)
    assert "OUTPUTS_DIR=/scratch/out/mara" in options["-e"]
    assert "CONTAINER_HOME=/scratch/home" in options["-e"]
    assert (here / "out/mara").is_dir()
    assert (here / "home").is_dir()
    code = Code(here / "code", COMMIT)
    storage = {"outputs": "/gone/out"}
    elsewhere = make(tmp_path, request("true"), claims=claims, code=code, storage=storage)
    submitted(client, elsewhere)
    assert not gone.exists()  # the claim is not mounted on this machine


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("HERE/jobs", ""),
        ("/scratch/jobs", ""),
        ("/gone/jobs", "cluster-code-folder"),  # not mounted on this machine
        ("/pods/jobs", "cluster-code-folder"),  # of pods only
        ("/elsewhere", "site-value"),
        ("", "cluster-code-folder"),
    ],
)
def test_code_is_in_a_folder_that_pods_and_this_machine_have(
    tmp_path: Path, code: str, name: str
) -> None:
    here = tmp_path / "scratch"
    here.mkdir()
    claims = [
        {"claim": "gone", "path": "/gone", "here": str(tmp_path / "gone")},
        {"claim": "scratch", "path": "/scratch", "here": str(here)},
        {"claim": "pods", "path": "/pods"},
    ]
    path = code.replace("HERE", str(here))
    job = make(tmp_path, request("true"), claims=claims, storage={"code": path})
    shared_code = runai.SCHEDULER.shared_code
    if not name:
        assert shared_code(job.project, job.site, job.request) == path
        return
    with pytest.raises(StopError) as caught:
        shared_code(job.project, job.site, job.request)
    assert caught.value.name == name


def test_what_the_client_says_last_is_the_reason_of_a_failure(
    client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = make(tmp_path, request("a"))
    client.says(error="Error: quota\nnot enough GPUs\n")
    write(job, runai.files(job))
    for ask in (
        lambda: runai.submit(job),
        lambda: runai.states(job.project, job.site, (record(job),)),
        lambda: runai.cancel(job.project, job.site, record(job)),
    ):
        with pytest.raises(StopError) as caught:
            ask()
        assert caught.value.name == "cluster-runai-failed"
        assert "not enough GPUs" in caught.value.sentence
    assert capfd.readouterr().out == ""
