"""submit: what is handed over is known here, and what is not leaves nothing behind.

Scheduler, client, registry and repository are stand-ins; each has tests of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from host.clusters import compute_nodes, submit
from host.clusters.job import Request
from host.clusters.jobs import jobs_folder, records
from host.clusters.site import Site
from host.env_file import ProbeError
from host.project import Project, StopError, read_project
from tests.conftest import ROOT, Generate
from tests.support.cluster import CODE, IMAGE, Cluster, project_with

HOSTS = ROOT / "tests/fakes/hosts"


def stop() -> StopError:
    """What a part of a submission refuses with."""
    return StopError("This is refused.", "true", name="refused")


def module(monkeypatch: pytest.MonkeyPatch, name: str, **has: Any) -> None:
    """A stand-in for a module of host/clusters."""
    made = ModuleType(f"host.clusters.{name}")
    vars(made).update(has)
    monkeypatch.setitem(sys.modules, made.__name__, made)


def request_of(project: Project, _site: Site, options: Namespace) -> Request:
    """A request, with the next name that no folder has if the user has chosen none."""
    number = 1
    while (jobs_folder(project, "slurm") / f"train-{number}").exists():
        number += 1
    name = options.name or f"train-{number}"
    return Request("slurm", name, tuple(options.command), gpus=options.gpus, door=options.door)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_with(tmp_path, "slurm")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster, on which all that is asked for is there."""
    module(monkeypatch, "request", read_request=request_of, request_options=lambda _: None)
    module(monkeypatch, "image", image_of_job=lambda *_: IMAGE)
    module(monkeypatch, "code", code_of_job=lambda *_, **__: CODE)
    monkeypatch.setattr(submit, "read_site", lambda project: Site(project.folder, {}))
    return Cluster("slurm", monkeypatch, tmp_path)


def options(*command: str, **given: Any) -> Namespace:
    """The command line of a submission."""
    usual = {"on": "", "name": "", "gpus": 0, "door": "", "code": ""}
    flags = {"dry_run": False, "dirty": False, "force": False}
    return Namespace(**{**usual, **flags, "command": list(command or ("true",)), **given})


def folders(project: Project) -> list[str]:
    """The names of the jobs that have left a folder."""
    return sorted(path.name for path in jobs_folder(project, "slurm").glob("*"))


# ------------------------------------------------------------------------------- the hand-over


def test_a_job_is_its_file_its_record_and_its_name_on_stdout(
    project: Project, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    assert submit.do_submit(project, options("python", "a b.py")) == 0
    out, err = capfd.readouterr()
    assert out == "train-1\n"
    folder = jobs_folder(project, "slurm") / "train-1"
    assert cluster.calls == [str(folder / "job.sh")]
    assert (folder / "job.sh").read_text() in err
    assert folder.stat().st_mode & 0o777 == 0o700  # values of -e are in it
    assert (folder / ".gitignore").read_text() == "*\n"
    said = json.loads((folder / "job.json").read_text())
    assert (said["id"], said["command"]) == ("4711", ["python", "a b.py"])
    assert (said["commit"], said["image"], said["answers"]) == (
        CODE.commit,
        IMAGE.pinned,
        IMAGE.answers,
    )


def test_a_dry_run_prints_the_file_and_needs_no_client(
    project: Project,
    cluster: Cluster,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    cluster.client.unlink()
    assert submit.do_submit(project, options("echo", "ü\x1b", dry_run=True)) == 0
    assert capfdbinary.readouterr().out == "#!/bin/sh\necho ü\x1b\n".encode()
    assert folders(project) == []


def test_without_its_client_nothing_is_asked_and_the_dry_run_is_named(
    project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.client.unlink()
    module(monkeypatch, "image", image_of_job=None)  # which would fail, if it were called
    monkeypatch.setattr(sys, "argv", ["host", "submit", "echo", "a b"])
    with pytest.raises(StopError) as caught:
        submit.do_submit(project, options())
    assert caught.value.name == "cluster-client-missing"
    assert caught.value.command == "./docker-amd64/template.sh submit --dry-run echo 'a b'"
    assert folders(project) == []


def test_two_submissions_never_share_a_name(project: Project, cluster: Cluster) -> None:
    first = request_of(project, Site(project.folder, {}), options())

    def take(_: int) -> str:
        return submit.new_folder(project, first, keep_name=False)[1].name

    with ThreadPoolExecutor(8) as pool:
        names = [*pool.map(take, range(8))]
    assert sorted(names) == folders(project) == [f"train-{at}" for at in range(1, 9)]
    with pytest.raises(StopError) as caught:
        submit.do_submit(project, options(name="train-3"))
    assert caught.value.name == "cluster-job-exists"
    assert cluster.calls == []
    assert len(folders(project)) == 8


def test_the_next_name_is_one_that_nobody_of_the_team_has(
    project: Project, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    def check(_project: Project, _site: Site, request: Request) -> None:
        if request.name in ("train-1", "train-2"):
            raise StopError("It is taken.", "true", name=submit.TAKEN)

    cluster.install(check=check)
    submit.do_submit(project, options())
    assert capfd.readouterr().out == "train-3\n"
    with pytest.raises(StopError) as caught:
        submit.do_submit(project, options(name="train-2"))
    assert caught.value.name == submit.TAKEN


def test_a_dry_run_of_manifests_is_all_that_kubectl_needs(
    project: Project, cluster: Cluster, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cluster.install(files=lambda _: {"job.yaml": "a: 1\n", "code.yaml": "b: 2\n" * 9999})
    submit.do_submit(project, options(dry_run=True))
    assert capfdbinary.readouterr().out == b"b: 2\n" * 9999 + b"---\na: 1\n"


def test_code_that_no_node_could_have_is_refused_before_a_registry_is_asked(
    project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> str:
        raise stop()

    module(monkeypatch, "image", image_of_job=None)  # which would fail, if it were called
    cluster.install(shared_code=refuse)
    with pytest.raises(StopError, match="refused"):
        submit.do_submit(project, options(dry_run=True))


@pytest.mark.usefixtures("cluster")
def test_an_interactive_job_says_how_to_enter_it(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    submit.do_submit(project, options(door="ssh"))
    assert "\n  enter ssh 4711\n" in capfd.readouterr().err


# ---------------------------------------------------------------------- what is refused or ended


@pytest.mark.parametrize("part", ["check", "image", "code", "files", "submit"])
@pytest.mark.parametrize("error", [stop, KeyboardInterrupt])
def test_what_fails_or_is_interrupted_leaves_no_job(
    project: Project,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    error: Callable[[], BaseException],
) -> None:
    raised = error()

    def fail(*_: Any, **__: Any) -> Any:
        raise raised

    if part in ("image", "code"):
        module(monkeypatch, part, **{f"{part}_of_job": fail})
    else:
        cluster.install(**{part: fail})
    with pytest.raises(type(raised)) as caught:
        submit.do_submit(project, options())
    assert caught.value is raised
    assert folders(project) == []
    assert cluster.calls == []


def test_a_refusal_of_the_client_leaves_the_file_on_the_screen_only(
    project: Project, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.answer(None)
    with pytest.raises(StopError, match="stand-in has refused"):
        submit.do_submit(project, options("python", "train.py"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "#!/bin/sh\npython train.py\n" in err
    assert folders(project) == []


def test_the_end_of_a_session_before_the_hand_over_leaves_no_job(
    project: Project, cluster: Cluster
) -> None:
    def end(job: Any) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGTERM)
        return cluster.files(job)

    cluster.install(files=end)
    with pytest.raises(SystemExit) as caught:
        submit.do_submit(project, options())
    assert caught.value.code == 128 + signal.SIGTERM
    assert folders(project) == []
    assert cluster.calls == []


def test_a_signal_that_is_ignored_stays_so(project: Project, cluster: Cluster) -> None:
    def hang_up(job: Any) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGHUP)
        return cluster.files(job)

    cluster.install(files=hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert submit.do_submit(project, options()) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_in_the_queue_is_known_whatever_interrupts(
    project: Project, cluster: Cluster, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def interrupted(job: Any) -> str:
        os.kill(os.getpid(), number)
        return cluster.submit(job)

    cluster.install(submit=interrupted)
    assert submit.do_submit(project, options()) == 128 + number
    assert [one.id for one in records(project)] == ["4711"]
    assert "template.sh cancel train-1" in capfd.readouterr().err


def test_a_client_that_was_interrupted_too_leaves_no_job(
    project: Project, cluster: Cluster
) -> None:
    def interrupted(_: Any) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        raise stop()

    cluster.install(submit=interrupted)
    with pytest.raises(SystemExit) as caught:
        submit.do_submit(project, options())
    assert caught.value.code == 130
    assert folders(project) == []


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_after_the_hand_over_keeps_the_number(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(_: Any) -> None:
        raise ProbeError("Cannot write job.json: No space left on device.")

    monkeypatch.setattr(submit, "write_record", fail)
    assert submit.do_submit(project, options()) == 1
    err = capfd.readouterr().err
    assert "(failure: cluster-job-not-recorded)" in err
    assert "4711" in err
    assert (jobs_folder(project, "slurm") / "train-1/job.sh").is_file()


# ------------------------------------------------------------------------------- the compute nodes


@pytest.fixture(scope="module")
def gpu_project(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project for GPUs, whose CUDA needs a driver of today."""
    made = generate(tmp_path_factory.mktemp("nodes") / "project", accelerator="cuda")
    return read_project(made / "docker-amd64")


def check(project: Project, gpus: int, *hosts: str, force: bool = False) -> str:
    """The id of the failure of a job on nodes that are described as such, "" if there is none."""
    folder = project.folder / compute_nodes.FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for host in hosts:
        shutil.copyfile(HOSTS / f"{host}.json", folder / f"{Path(host).name}.json")
    try:
        request = Request("slurm", "train", ("true",), gpus=gpus)
        compute_nodes.check_nodes(project, request, force=force)
    except StopError as error:
        return error.name
    return ""


@pytest.mark.parametrize(
    ("gpus", "hosts", "failure"),
    [
        (1, [], ""),
        (8, ["dgx-h100"], ""),
        (1, ["broken/driver-of-2023"], "cluster-node-unfit"),
        (1, ["broken/driver-of-2023", "dgx-h100"], ""),
        (0, ["broken/driver-of-2023"], ""),
        (1, ["gh200"], "cluster-node-unfit"),
        (0, ["gh200"], "cluster-node-unfit"),
        (0, ["gh200", "cluster-login-node"], ""),
        (1, ["cluster-login-node"], ""),
        (64, ["broken/driver-of-2023"], ""),
        # What is wrong with an engine is nothing to a job.
        (1, ["broken/daemon-not-restarted"], ""),
    ],
)
def test_a_job_that_no_described_node_can_run_is_refused(
    gpu_project: Project, gpus: int, hosts: list[str], failure: str
) -> None:
    assert check(gpu_project, gpus, *hosts) == failure


def test_a_node_that_cannot_is_named_with_the_doctors_command_and_force_goes_on(
    gpu_project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    host = "broken/driver-of-2023"
    assert check(gpu_project, 1, host, force=True) == ""
    assert "deploy/hosts/driver-of-2023.json" in capfd.readouterr().err
    with pytest.raises(StopError) as caught:
        compute_nodes.check_nodes(gpu_project, Request("slurm", "a", ("b",), gpus=1), force=False)
    assert "deploy/hosts/driver-of-2023.json" in caught.value.sentence
    (node,) = compute_nodes.nodes(gpu_project, gpus=True)
    assert node.problem
    assert node.problem.name == "gpu-driver-too-old"
    assert caught.value.command == node.problem.command


def test_a_node_that_was_described_from_a_job_with_one_gpu_has_all_of_them(
    gpu_project: Project,
) -> None:
    data = json.loads((HOSTS / "dgx-h100.json").read_text())
    check(gpu_project, 1)
    file = gpu_project.folder / compute_nodes.FOLDER / "node.json"
    file.write_text(json.dumps({**data, "gpus": data["gpus"][:1]}))
    (node,) = compute_nodes.nodes(gpu_project, gpus=True)
    assert (node.gpus, node.problem) == (8, None)


def test_a_broken_description_is_named(gpu_project: Project) -> None:
    check(gpu_project, 1)
    (gpu_project.folder / compute_nodes.FOLDER / "half.json").write_text('{"gpus": [')
    with pytest.raises(StopError, match=r"half\.json") as caught:
        compute_nodes.check_nodes(gpu_project, Request("slurm", "a", ("b",)), force=False)
    assert caught.value.name == "host-file"


def test_a_dry_run_and_its_kin_are_options() -> None:
    parser = ArgumentParser()
    with pytest.MonkeyPatch.context() as patch:
        module(patch, "request", request_options=lambda _: None)
        submit.submit_options(parser)
    assert parser.parse_args(["--dry-run", "--code", "/a"]).code == "/a"
