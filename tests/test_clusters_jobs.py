"""jobs, logs and cancel: what was submitted is found again, whatever the schedulers say."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from host import work
from host.clusters import jobs
from host.clusters.job import Record
from host.clusters.jobs import (
    do_cancel,
    do_jobs,
    jobs_folder,
    read_record,
    records,
    summary,
    write_record,
)
from host.clusters.site import Site
from host.jobs import Job
from host.project import Project, StopError
from tests.support.cluster import Cluster, project_with


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_with(tmp_path, "slurm", "kubernetes")


@pytest.fixture(autouse=True)
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Cluster]:
    """Two clusters."""
    monkeypatch.setattr(jobs, "read_site", lambda project: Site(project.folder, {}))
    monkeypatch.setattr(jobs, "engine_program", lambda: "no-engine")
    names = ("slurm", "kubernetes")
    return {name: Cluster(name, monkeypatch, tmp_path) for name in names}


def submitted(project: Project, name: str, cluster: str = "slurm", **given: Any) -> Record:
    """A job that was handed over."""
    folder = jobs_folder(project, cluster) / name
    folder.mkdir(parents=True)
    usual: dict[str, Any] = {
        "cluster": cluster,
        "name": name,
        "id": "17",
        "submitted": "2026-11-29T12:00:00Z",
        "command": ("python", "train.py"),
        "commit": "",
        "dirty": "",
        "image": "demo",
        "answers": "",
        "nodes": 2,
        "gpus": 4,
        "door": "",
        "folder": folder,
    }
    record = Record(**{**usual, **given})
    write_record(record)
    return record


def listing(project: Project, **given: Any) -> int:
    """The exit status of `jobs`."""
    return do_jobs(
        project, Namespace(**{"on": "", "json": False, "clean": False, "yes": False, **given})
    )


def rows(text: str) -> dict[str, list[str]]:
    """The words of a table by the first one of each line."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


@pytest.mark.parametrize("word", ["a b", "$(id) 'x' \"y\"", "ü\n\x1b", "x" * 200])
def test_a_record_is_read_as_it_was_written(project: Project, word: str) -> None:
    record = submitted(project, "train", command=("echo", word))
    assert read_record(record.folder) == record


def test_jobs_are_listed_with_what_their_schedulers_say(
    project: Project, clusters: dict[str, Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(project, "late", submitted="2026-11-29T13:00:00Z", command=("echo", "a\nb"))
    submitted(project, "early")
    submitted(project, "shell", "kubernetes", command=(), door="ssh")
    clusters["slurm"].states = {"late": "PENDING"}
    clusters["kubernetes"].states = {"shell": "Running"}
    assert listing(project) == 0
    table = rows(capsys.readouterr().out)
    assert list(table) == ["JOB", "early", "shell", "late"]
    assert table["late"][:4] == ["slurm", "17", "PENDING", "2x4"]
    assert table["early"][2] == jobs.ENDED
    assert table["shell"][2] == "Running"
    assert listing(project, on="kubernetes", json=True) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["state"], found["door"]) == ("shell", "Running", "ssh")


@pytest.mark.parametrize("missing", [True, False])
def test_a_cluster_that_does_not_answer_hides_no_other(
    project: Project,
    clusters: dict[str, Cluster],
    capsys: pytest.CaptureFixture[str],
    missing: bool,
) -> None:
    submitted(project, "one")
    submitted(project, "two", "kubernetes")
    clusters["kubernetes"].states = {"two": "Running"}
    if missing:
        clusters["slurm"].client.unlink()
    clusters["slurm"].states = StopError("The controller does not answer.", "true")
    assert listing(project) == 1
    out, err = capsys.readouterr()
    table = rows(out)
    assert (table["one"][2], table["two"][2]) == (jobs.UNKNOWN, "Running")
    assert err.startswith("slurm ")


@pytest.mark.parametrize("submitting", ["before", "while it asks", ""])
def test_clean_removes_what_has_ended_and_no_checkout_that_a_job_may_have(
    project: Project,
    clusters: dict[str, Cluster],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    submitting: str,
) -> None:
    runs, ended = submitted(project, "runs"), submitted(project, "ended")
    submitted(project, "silent", "kubernetes")
    clusters["slurm"].states = {"runs": "RUNNING", "ended": "FAILED"}
    clusters["kubernetes"].states = StopError("The cluster does not answer.", "true")
    being = jobs_folder(project, "slurm") / "being-submitted"
    if submitting == "before":
        being.mkdir()
    asked: list[set[str]] = []
    removed: list[Path] = []

    def unused(_project: Project, _site: Site, known: list[Record]) -> list[Path]:
        asked.append({one.name for one in known})
        if submitting == "while it asks" and len(asked) == 2:  # after the list, before the removal
            being.mkdir()
        return [Path("/shared/old")]

    code: Any = ModuleType("host.clusters.checkouts")
    code.unused_checkouts, code.remove_checkout = unused, removed.append
    monkeypatch.setitem(sys.modules, code.__name__, code)
    with pytest.raises(StopError, match="no terminal"):
        listing(project, clean=True)
    assert ended.folder.is_dir()
    listing(project, clean=True, yes=True)
    assert runs.folder.is_dir()
    assert not ended.folder.exists()
    assert {one.name for one in records(project)} == {"runs", "silent"}
    assert removed == ([] if submitting else [Path("/shared/old")])
    assert asked == [{"runs", "silent"}] * {"before": 0, "while it asks": 2, "": 3}[submitting]
    said = capsys.readouterr().err
    assert ("being-submitted" in said) == bool(submitting)  # it may have been killed


def test_a_folder_without_a_record_is_no_job_and_a_damaged_one_is_named(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (jobs_folder(project, "slurm") / "being-submitted").mkdir(parents=True)
    (submitted(project, "half").folder / jobs.FILE).write_text('{"name": "ha')
    assert listing(project) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "half/job.json" in err
    assert "being-submitted" not in err


@pytest.mark.parametrize("number", ["", "-u", "--user=me", "17 18", "17,18", "(", "$(x)"])
def test_what_is_no_id_of_a_scheduler_is_no_word_of_its_client(
    project: Project, clusters: dict[str, Cluster], number: str
) -> None:
    submitted(project, "edited", id=number)
    with pytest.raises(StopError) as caught:
        do_cancel(project, Namespace(job="edited", on=""))
    assert caught.value.name == "cluster-job-missing"
    assert not clusters["slurm"].cancelled


def test_clean_follows_no_link_and_removes_nothing_behind_it(project: Project) -> None:
    folder = submitted(project, "mine").folder
    behind = project.folder / "behind"
    folder.rename(behind)
    folder.symlink_to(behind)
    listing(project, clean=True, yes=True)
    assert (behind / jobs.FILE).is_file()


def test_a_job_that_two_clusters_have_needs_on(
    project: Project, clusters: dict[str, Cluster]
) -> None:
    submitted(project, "train")
    submitted(project, "train", "kubernetes")
    for one in clusters.values():
        one.states = {"train": "running"}
    with pytest.raises(StopError) as caught:
        do_cancel(project, Namespace(job="train", on=""))
    assert caught.value.name == "cluster-job-twice"
    do_cancel(project, Namespace(job="train", on="kubernetes"))
    assert clusters["slurm"].cancelled == []
    assert clusters["kubernetes"].cancelled == ["train"]
    with pytest.raises(StopError, match="runai"):
        do_cancel(project, Namespace(job="train", on="runai"))


@pytest.mark.parametrize(
    ("state", "ends"),
    [
        ("RUNNING", True),
        ("COMPLETING", True),
        ("Pending", True),
        ("COMPLETED, RUNNING", True),
        ("COMPLETED", False),
        ("Complete", False),
        ("CANCELLED by 1000", False),
        ("OUT_OF_MEMORY", False),
        ("FAILED_SETUP", False),
        ("", False),
    ],
)
def test_a_job_is_cancelled_unless_it_has_ended(
    project: Project, clusters: dict[str, Cluster], state: str, ends: bool
) -> None:
    submitted(project, "train")
    clusters["slurm"].states = {"train": state} if state else {}
    do_cancel(project, Namespace(job="train", on=""))
    assert clusters["slurm"].cancelled == (["train"] if ends else [])


def test_a_job_that_was_not_submitted_is_refused_with_those_that_were(project: Project) -> None:
    submitted(project, "train")
    with pytest.raises(StopError, match=r"train\.") as caught:
        do_cancel(project, Namespace(job="trian", on=""))
    assert caught.value.name == "cluster-job-missing"


def test_logs_of_a_submitted_job_ask_its_scheduler_and_no_engine(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(project, "train")
    usual = {"follow": True, "tail": None, "timestamps": False, "on": ""}
    monkeypatch.setattr(work, "find_job", lambda *_: pytest.fail("the engine was asked"))
    assert work.do_logs(project, Namespace(job="train", **usual)) == 3
    assert capsys.readouterr().out == "17 True\n"
    with pytest.raises(StopError, match="--tail"):
        work.do_logs(project, Namespace(job="train", **{**usual, "tail": "3"}))


def test_a_name_that_run_has_used_too_needs_on(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(project, "train")
    here = Job("1", "train", "running", "Up", "python")
    monkeypatch.setattr(jobs, "engine_program", lambda: "true")
    monkeypatch.setattr(jobs, "local_jobs", lambda _: [here])
    usual = {"follow": False, "tail": None, "timestamps": False}
    with pytest.raises(StopError) as caught:
        work.do_logs(project, Namespace(job="train", on="", **usual))
    assert caught.value.name == "cluster-job-twice"
    assert work.do_logs(project, Namespace(job="train", on="slurm", **usual)) == 3
    assert capsys.readouterr().out == "17 False\n"
    assert jobs.logs_of_job(project, Namespace(job="train", on="here", **usual)) is None


def test_logs_of_another_job_ask_the_engine(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(project, "train")
    here: list[Job] = []
    monkeypatch.setattr(jobs, "engine_program", lambda: sys.executable)
    monkeypatch.setattr(jobs, "local_jobs", lambda _: here)
    asked: list[str] = []

    def find(_: Project, name: str) -> None:
        asked.append(name)
        raise StopError("There is none.")

    monkeypatch.setattr(work, "find_job", find)
    usual = {"follow": False, "tail": None, "timestamps": False, "on": ""}
    with pytest.raises(StopError) as caught:
        work.do_logs(project, Namespace(job="job-1", **usual))
    assert (caught.value.name, asked) == ("cluster-job-missing", [])
    here.append(Job("1", "job-1", "running", "Up", "true"))
    with pytest.raises(StopError):
        work.do_logs(project, Namespace(job="job-1", **usual))
    assert asked == ["job-1"]


def test_ls_mentions_them_without_a_question(
    project: Project, clusters: dict[str, Cluster]
) -> None:
    assert summary(project) == ""
    submitted(project, "train")
    for one in clusters.values():
        one.client.unlink()
    assert "train" in summary(project)
    assert [one.name for one in records(project)] == ["train"]
