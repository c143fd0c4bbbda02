"""The request of a job: what `submit` takes, what it refuses, and what a site adds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.clusters.job import NO_LIMIT, Request
from host.clusters.request import read_request, request_options
from host.clusters.site import Site
from host.command import Parser
from host.project import USAGE, Project, StopError
from tests.support.cluster_job import site_of
from tests.support.program import PROJECT

LIMITS = {"nodes": 4, "gpus": 8, "cpus": 64, "memory": 512 << 30, "time": 86400}
DEFAULTS = {"gpus": 1, "cpus": 8, "memory": 32 << 30, "time": 3600}
Ask = Callable[..., Request]


def site(**tables: dict[str, Any]) -> Site:
    """A site with these tables, the others as they are without a word in the file."""
    return site_of("slurm", **tables)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project for Slurm and GPUs, with PyTorch and a notebook in dev."""
    (tmp_path / "verify.py").touch()
    return Project(tmp_path, {**PROJECT, "clusters": ["slurm"], "extras": ["jupyter"]})


def parsed(*words: str) -> Any:
    """The options of a command line."""
    parser = Parser(prog="./template.sh submit", allow_abbrev=False)
    request_options(parser)
    return parser.parse_args(words)


@pytest.fixture
def ask(project: Project) -> Ask:
    """Ask for a job on a site that says nothing, or on another one."""

    def ask_(*words: str, of: Site | None = None) -> Request:
        return read_request(project, of or site(), parsed(*words))

    return ask_


def refusal(ask: Ask, *words: str, **of: Any) -> StopError:
    """What is said of a command line: a sentence or two, and a command."""
    with pytest.raises(StopError) as error:
        ask(*words, **of)
    stop = error.value
    assert stop.name == USAGE
    assert re.fullmatch(r"[^\n]{15,400}[.?]", stop.sentence), stop.sentence
    assert shlex.split(stop.command)
    return stop


def test_a_command_alone_is_a_job_with_what_the_site_gives_by_default(ask: Ask) -> None:
    assert ask("python", "train.py", "--lr", "3") == Request(
        "slurm", "slurm-1", ("python", "train.py", "--lr", "3")
    )
    found = ask("hostname", of=site(defaults=DEFAULTS))
    assert (found.gpus, found.cpus, found.memory, found.seconds) == (1, 8, 32 << 30, 3600)
    found = ask("--gpus", "0", "--time", "5", "hostname", of=site(defaults=DEFAULTS))
    assert (found.gpus, found.seconds) == (0, 300)


def test_every_option_is_in_the_request(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_SHELL", "a b")
    words = "--on slurm --nodes 2 --gpus 4 --cpus 16 --memory 64G --time 1-00:00:00 --tasks 4"
    more = "--name train-7 --requeue 3 --verify -e SEED=1 -e EMPTY= -e FROM_SHELL -- -c x"
    assert ask(*words.split(), *more.split()) == Request(
        cluster="slurm",
        name="train-7",
        command=("-c", "x"),
        nodes=2,
        gpus=4,
        cpus=16,
        memory=64 << 30,
        seconds=86400,
        tasks=4,
        verify=True,
        requeue=3,
        environment={"SEED": "1", "EMPTY": "", "FROM_SHELL": "a b"},
    )
    assert ask("--array", "0-9%2", "hostname").array == "0-9%2"
    assert ask("--interactive").door == "shell"
    assert ask("--interactive=jupyter").door == "jupyter"


def test_the_next_name_is_free_also_after_a_job_was_removed(ask: Ask, project: Project) -> None:
    for name in ("slurm-2", "slurm-9", "other", "slurm-", "slurm-010", "job-12"):
        (project.folder / "deploy/slurm/jobs" / name).mkdir(parents=True)
    assert ask("hostname").name == "slurm-10"


def test_another_image_takes_the_place_of_the_sites(ask: Ask) -> None:
    one = site(image={"name": "registry.example/a/b"})
    ask("--image", "registry.example/team/other:1", "hostname", of=one)
    assert one["image"]["name"] == one["image"]["dev"] == "registry.example/team/other:1"


WRONG: dict[str, tuple[list[str], str]] = {
    "no command": ([], "needs a command"),
    "an empty command": ([""], "empty word"),
    "an unknown option": (["--gpu", "2", "python"], "does not know --gpu"),
    "both": (["--interactive", "--", "python"], "or it is interactive"),
    "an unknown door": (["--interactive=vnc"], "shell, ssh, jupyter"),
    "another cluster": (["--on", "slrum", "x"], "Did you mean slurm?"),
    "a name with capitals": (["--name", "Train", "x"], "small letters"),
    "a name with a blank": (["--name", "a b", "x"], "small letters"),
    "a name that leaves the folder": (["--name", "../x", "x"], "small letters"),
    "no name": (["--name", "", "x"], "small letters"),
    "a name of a line end": (["--name", "a\n", "x"], "small letters"),
    "a long name": (["--name", "a" * 41, "x"], "40 characters"),
    "a name with - at its end": (["--name", "a-", "x"], "no - at the end"),
    "no number": (["--gpus", "two", "x"], "whole number"),
    "digits of another script": (["--gpus", "٣", "x"], "whole number"),
    "a large number": (["--gpus", "9" * 30, "x"], "to 999999999, not"),
    "less than nothing": (["--gpus=-1", "x"], "whole number"),
    "no node": (["--nodes", "0", "x"], "from 1 to"),
    "no task": (["--tasks", "0", "x"], "from 1 to"),
    "a size without a unit": (["--memory", "64", "x"], "such as 64G"),
    "no time": (["--time", "0", "x"], "HH:MM:SS"),
    "a time in words": (["--time", "two hours", "x"], "HH:MM:SS"),
    "an array backwards": (["--array", "9-0", "x"], "--array"),
    "an array in words": (["--array", "$(touch x)", "x"], "--array"),
    "an array of none": (["--array", "0-9%0", "x"], "--array"),
    "a huge array": (["--array", "0-999999", "x"], "100000"),
    "an array of nodes": (["--array", "0-9", "--nodes", "2", "x"], "one node"),
    "no variable": (["-e", "1A=b", "x"], "NAME=VALUE"),
    "a variable with a line end": (["-e", "A=b\nc", "x"], "line end"),
    "a variable that the shell lacks": (["-e", "NOT_THERE", "x"], "of your shell"),
    "a requeue without an end": (["--requeue", "2", "x"], "--time"),
    "many starts": (["--requeue", "200", "--time", "1h", "x"], "100"),
    "tasks of torchrun": (["--tasks", "4", "torchrun", "x.py"], "--nproc-per-node"),
    "an interactive job on two nodes": (["--interactive", "--nodes", "2"], "one node"),
    "an interactive job again": (["--interactive", "--time=1h", "--requeue=1"], "--requeue"),
    "no image": (["--image", "$(touch x)", "x"], "registry.example/"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_refused_in_words(ask: Ask, words: list[str], said: str) -> None:
    assert said in refusal(ask, *words).sentence


@pytest.mark.parametrize(
    "words",
    [
        *(["-e", f"{name}=x", "python"] for name in ("HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD")),
        ["-e", "HF_TOKEN", "python"],
        ["-e", f"A=hf_{'a' * 34}", "python"],
        ["python", "train.py", f"--token=ghp_{'A1' * 18}"],
        ["bash", "-c", f"AWS_ACCESS_KEY_ID=AKIA{'A' * 16} python x.py"],
    ],
    ids=lambda words: words[-1][:12] + words[1][:12],
)
def test_a_secret_does_not_come_into_a_job_file(
    ask: Ask, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-value")
    stop = refusal(ask, *words)
    assert "[storage] secrets" in stop.sentence
    for secret in ("hf_a", "ghp_", "AKIA", "secret-value"):
        assert secret not in str(stop)


@pytest.mark.parametrize("cluster", ["kubernetes", "runai", "skypilot"])
def test_a_refused_secret_is_sent_where_its_cluster_has_secrets(
    project: Project, cluster: str
) -> None:
    other = Project(project.folder, {**PROJECT, "clusters": [cluster]})
    with pytest.raises(StopError) as caught:
        read_request(other, site(), parsed("-e", "HF_TOKEN=x", "python"))
    assert f"[{cluster}]" in caught.value.sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nodes 5 x", "--nodes 5 is more than the 4 "),
        ("--gpus 9 x", "--gpus 9 is more than the 8 of a node"),
        ("--cpus 65 x", "--cpus 65 is more than the 64 of a node"),
        ("--memory 1T x", "--memory 1T is more than the 512G of a node"),
        ("--time 25h x", "--time 1-01:00:00 is more than the 1-00:00:00 "),
    ],
)
def test_more_than_the_site_has_is_refused_before_a_scheduler_is_asked(
    ask: Ask, words: str, said: str
) -> None:
    stop = refusal(ask, *words.split(), of=site(limits=LIMITS))
    assert said in stop.sentence
    assert "[limits]" in stop.sentence
    most = "--nodes 4 --gpus 8 --cpus 64 --memory 512G --time 24h x"
    assert ask(*most.split(), of=site(limits=LIMITS)).gpus == 8
    assert ask("--gpus", "99", "x").memory == NO_LIMIT


def test_what_the_project_does_not_have_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    data = {**PROJECT, "accelerator": "cpu", "clusters": ["slurm", "runai"]}
    bare = Project(tmp_path, data)

    def ask(*words: str) -> Request:
        return read_request(bare, site(defaults=DEFAULTS), parsed("--on", "slurm", *words))

    assert ask("x").gpus == 0  # of the site's default, which is for other projects
    assert refusal(ask, "--gpus", "1", "x").command.endswith("update --data accelerator=cuda")
    assert refusal(ask, "--interactive=ssh").command.endswith("update --data 'extras=[ssh]'")
    assert "does not have" in refusal(ask, "--verify", "x").sentence
    with pytest.raises(StopError, match="--on slurm or --on runai"):
        read_request(bare, site(), parsed("x"))
    assert read_request(bare, site(), parsed("--on", "runai", "x")).cluster == "runai"


words_ = st.text(st.characters(exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["--gpus", "--name", "-e", "--", "--array", "--time", "2", "A=b", "a b", "$(touch x)", "'", '"']
)


@settings(max_examples=300)
@given(words=st.lists(words_, max_size=6))
def test_any_words_are_a_request_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    project = Project(folder, {**PROJECT, "clusters": ["slurm"]})
    try:
        options = parsed(*words)
    except (StopError, SystemExit):  # --help
        return
    try:
        found = read_request(project, site(), options)
    except StopError as stop:
        said = stop
    else:
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", found.name)
        assert found.command
        assert shlex.split(shlex.join(found.command)) == [*found.command]
        return
    assert said.name == USAGE
