"""What the configurator answers, without a browser: as the matcher, Copier and the hook do."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from copier._main import Worker

from hooks.generate.after_render import Answers, chosen
from tests.conftest import ROOT
from tests.support.configurator import SMI_LIST, SMI_WSL, asked, some_answers
from website.python import bundle
from website.python.answers import PLACES, answer, choice_of, given, more, opened
from website.python.machines import split_names
from website.python.project_command import HIDDEN, TEMPLATE
from website.python.questions import DRIVER, questionnaire

SMI = """\
| NVIDIA-SMI 570.86.15              Driver Version: 570.86.15      CUDA Version: 12.8     |
|   0  NVIDIA GeForce RTX 5090        Off |   00000000:01:00.0  On |                  N/A |
"""
NONSENSE = {
    "no GPU": ({"gpus": "a toaster"}, "gpus"),
    "another maker": ({"gpus": "Radeon RX 7900"}, "gpus"),
    "a part": ({"gpus": "MIG 1g.10gb"}, "gpus"),
    "a null byte": ({"gpus": "5090\0"}, "gpus"),
    "several things": ({"gpus": "RTX 6000"}, "gpus"),
    "a word between": ({"gpus": "4090 and 5090", "driver": "580"}, "gpus"),
    "no version": ({"gpus": "5090", "driver": "new"}, "driver"),
    "half a version": ({"gpus": "5090", "driver": "570.x"}, "driver"),
    "no version of no GPU": ({"driver": "some driver"}, "driver"),
    "a file of nonsense": ({"facts": {"gpus": 3}}, "gpus"),
    "too many": ({"gpus": "99x 5090"}, "gpus"),
    "a link to no question": ({"answers": {"servise": "train"}}, "link"),
}
NOTHING_MORE: dict[str, Any] = {"changes": [], "marks": {}, "services": [], "problem": ""}
REFUSED = (
    {"service": "ngc", "accelerator": "cpu"},
    {"accelerator": "cuda", "cca": "1.0"},
    {"accelerator": "cuda", "target_gpus": "GH200"},
    {"package_manager": "conda", "torch_version": "2.15.0"},
    {"service": "hub", "torch_version": "none"},
    {"torch_version": "2.8.0", "python_version": "3.9", "extras": "ssh,airflow"},
)


def test_who_knows_only_the_gpu_gets_a_command_that_works_and_its_oldest_driver() -> None:
    told = answer({"gpus": "5090"})
    assert told["verdict"] == "unknown"
    oldest = re.findall(r"driver ([0-9]+)", told["word"])[0]
    assert answer({"gpus": "5090", "driver": oldest, "answers": asked_texts(told)})[
        "verdict"
    ].startswith("works")
    assert told["command"].endswith(f"{TEMPLATE} myproj")


def asked_texts(told: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in asked(told).items() if isinstance(value, str) and value}


@pytest.mark.parametrize(("gpus", "driver"), [("5090", "570"), ("V100", "535.1"), ("1080 Ti", "")])
def test_what_nobody_chose_follows_the_machine(gpus: str, driver: str) -> None:
    told = answer({"gpus": gpus, "driver": driver})
    assert "torch_version" in told["followed"]
    assert told["instead"]
    kept = answer({"gpus": gpus, "driver": driver, "answers": {"torch_version": "2.15.0"}})
    assert kept["verdict"] in {"fails", "unknown"}
    assert asked(kept)["torch_version"] == "2.15.0"


def test_the_command_has_what_was_judged_as_a_shell_reads_it() -> None:
    state = {"gpus": "T4", "driver": "580", "answers": {"extras": "ci,data", "jit": "no"}}
    told = answer(state)
    words = shlex.split(told["command"].replace("\\\n", " "))
    data = dict(word.split("=", 1) for at, word in enumerate(words) if words[at - 1] == "--data")
    assert data["extras"] == "[ci, data]"
    assert data["jit"] == "no"
    assert data["torch_version"] == asked(told)["torch_version"]
    assert "shell" not in data


def test_the_gpus_of_another_machine_are_answers() -> None:
    told = answer({"gpus": "2x 4090", "driver": "580", "elsewhere": True})
    assert "--data 'target_gpus=NVIDIA GeForce RTX 4090'" in told["command"]
    arm = answer({"gpus": "GH200", "driver": "580", "elsewhere": True})
    assert "Arm processor" in arm["problem"]


def test_a_choice_that_fails_has_no_command_but_the_changes_that_work() -> None:
    state = {"gpus": "5090", "driver": "570", "answers": {"torch_version": "2.15.0"}}
    assert answer(state)["command"] == ""
    nearest, *others = more(state)["changes"]
    changed = {**state, "answers": {**state["answers"], **nearest["answers"]}}  # type: ignore[dict-item]
    assert answer(changed)["verdict"].startswith("works")
    by_driver = next(one for one in others if one["driver"])
    assert {row["place"] for row in by_driver["drivers"]} == set(PLACES)
    assert answer({**state, "driver": by_driver["driver"]})["verdict"].startswith("works")


# Machines on which a choice fails, and where the page has what helps.
WAYS_OUT = {
    "another choice": ({"gpus": "5090", "driver": "570"}, {"torch_version": "2.15.0"}, "above"),
    "no driver": ({"gpus": "5090"}, {"torch_version": "2.6.0"}, "above"),
    "an old driver": ({"gpus": "V100", "driver": "400"}, {"torch_version": "2.15.0"}, "above"),
    "no project": ({"gpus": "GH200", "driver": "580"}, {}, "the lines without the template, below"),
    "no project, no driver": ({"gpus": "GH200"}, {}, "the lines without the template, below"),
}


@pytest.mark.parametrize(("machine", "answers", "where"), WAYS_OUT.values(), ids=WAYS_OUT)
def test_a_choice_that_fails_says_where_the_page_has_what_helps(
    machine: dict[str, str], answers: dict[str, str], where: str
) -> None:
    state = {**machine, "answers": answers}
    told, found = answer(state), more(state)
    assert told["verdict"] == "fails"
    assert found["problem"].startswith(told["problem"].rstrip("."))
    assert where in found["problem"]
    assert ("above" in found["problem"]) == bool(found["changes"])
    if "below" in found["problem"]:
        assert told["plain"] or any(row["plain"] for row in found["services"])
    for change in found["changes"]:
        after = {**state, "answers": {**answers, **change["answers"]}}
        assert answer({**after, "driver": change["driver"] or machine.get("driver", "")})["command"]


def test_another_problem_is_not_replaced_by_the_way_out() -> None:
    assert more({"gpus": "GH200", "driver": "580", "folder": "-x"})["problem"] == ""


def test_each_service_of_the_overview_works_when_it_is_taken() -> None:
    state = {"gpus": "RTX 3090", "driver": "550.54.15"}
    rows = [row for row in more(state)["services"] if row["answers"]]
    assert len(rows) >= 4
    for row in rows:
        told = answer({**state, "answers": row["answers"]})
        assert told["verdict"].startswith("works"), row
        assert not [one for one in told["questions"] if one["refused"]], row


SERVICES = ("simple", "conda", "train", "devel", "ngc", "hub")
# What somebody may have chosen before, of which nothing may be left that a verdict rests on.
BEFORE = {"pytorch_build": "source", "cca": "8.6", "hub_image": "devel", "python_version": "3.10"}


@pytest.mark.parametrize(("first", "then"), [*itertools.permutations(SERVICES, 2)])
def test_a_service_that_is_taken_leaves_nothing_of_the_one_before(first: str, then: str) -> None:
    machine = {"gpus": "RTX 3090", "driver": "550.54.15"}
    rows = {row["name"]: row for row in more(machine)["services"]}
    assert {*rows} == {*SERVICES}
    answers: dict[str, str] = {**BEFORE}
    for name in (first, then):
        answers |= rows[name]["answers"]
        told = answer({**machine, "answers": answers})
        assert (told["verdict"], told["why"]) == (rows[name]["verdict"], rows[name]["why"])
        assert told["command"], told["problem"]
        # More than the verdict: the versions that the row names.
        alone = answer({**machine, "answers": rows[name]["answers"]})
        assert told["what"] == alone["what"]
        assert told["command"] == alone["command"]


def test_a_greyed_choice_has_its_reason_and_a_possible_one_has_none() -> None:
    state = {"gpus": "5090", "driver": "570"}
    marks = more(state)["marks"]
    for version, why in marks["torch_version"].items():
        told = answer({**state, "answers": {"torch_version": version}})
        assert told["verdict"] == "fails"
        assert why[-1] == "."
    possible = asked(answer(state))["torch_version"]
    assert possible not in marks["torch_version"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("5090", ["5090"]),
        ("2x 4090, A100 80GB", ["4090", "4090", "A100 80GB"]),
        ("RTX 4090 A100", ["RTX 4090", "A100"]),
        (SMI, ["NVIDIA GeForce RTX 5090"]),
        (SMI_WSL, ["NVIDIA GeForce RTX 4090", "NVIDIA RTX A2000"]),
    ],
)
def test_gpus_as_people_write_them(text: str, names: list[str]) -> None:
    assert split_names(text) == names


def test_what_nvidia_smi_prints_is_read() -> None:
    assert opened(SMI_LIST)["gpus"] == "NVIDIA GeForce RTX 4090, NVIDIA A100-SXM4-80GB"
    assert opened(SMI) == {
        "kind": "names",
        "gpus": "NVIDIA GeForce RTX 5090",
        "driver": "570.86.15",
    }
    assert opened(SMI_WSL)["gpus"] == "NVIDIA GeForce RTX 4090, NVIDIA RTX A2000"


@pytest.mark.parametrize(("state", "field"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_gets_one_sentence(state: dict[str, Any], field: str) -> None:
    told = answer(state)
    assert told["field"] == field
    assert told["refused"][-1] in ".?"
    assert "\n" not in told["refused"]
    assert more(state) == NOTHING_MORE
    assert_nothing_is_offered(told)


def assert_nothing_is_offered(told: dict[str, Any]) -> None:
    assert (told["command"], told["plain"], told["plain_note"]) == ("", [], "")
    # A link is refused by the verdict, before anything else is looked at.
    assert told["problem"] or told["field"] == "link"


def test_a_driver_without_a_gpu_is_no_machine() -> None:
    told = answer({"driver": "570"})
    assert (told["verdict"], told["refused"]) == ("none", "")
    assert_nothing_is_offered(told)
    # Who has no GPU needs none, and who has named nothing yet gets what Copier would propose.
    assert answer({"driver": "570", "answers": {"accelerator": "cpu"}})["command"]
    assert answer({})["command"]


@pytest.mark.parametrize(
    "text", ["", "hello", "{", "[]", "{}", '{"gpus": 3}', '{"gpus": []}', "x" * 2_000_000]
)
def test_a_file_of_something_else_gets_one_sentence(text: str) -> None:
    found = opened(text)
    assert found["kind"] == "nothing"
    assert found["refused"][-1] == "."


PROMPT = "me@gpu-1:~/my proj$ ./docker-amd64/template.sh doctor\n"
REPORT = """\
fine: 40 checks

error: gpu-engine-not-restarted
  It was not
  restarted.
  Seen: 1 GPU
  Run: sudo systemctl restart docker
  See: https://git.example/t/blob/HEAD/docs/troubleshoot.md#gpu-engine-not-restarted

warning: env-out-of-date
  It is out of date.
  Seen: it lacks a
  key
  Mended: the key was
  added
  See: docs/troubleshoot.md#env-out-of-date
"""
FINDINGS = [
    {"id": "gpu-engine-not-restarted", "level": "error", "cause": "It was not restarted."}
    | {"evidence": "1 GPU", "command": "sudo systemctl restart docker", "mended": ""},
    {"id": "env-out-of-date", "level": "warning", "cause": "It is out of date."}
    | {"evidence": "it lacks a key", "command": "env", "mended": "the key was added"},
]
DOCUMENT = json.dumps({"status": 2, "findings": FINDINGS, "fine": []}, indent=2)


@pytest.mark.parametrize("before", ["", "\ufeff", PROMPT, "[me@gpu-1 proj]$ template.sh\n"])
@pytest.mark.parametrize("after", ["", "\nme@gpu-1:~$ "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("text", [REPORT, DOCUMENT], ids=["text", "JSON"])
def test_a_report_of_doctor_is_read_as_it_is_copied(
    text: str, before: str, after: str, end: str
) -> None:
    found = opened(f"{before}{text}{after}".replace("\n", end))
    first, second = found["findings"]
    assert first == {
        "id": "gpu-engine-not-restarted",
        "level": "error",
        "cause": "It was not restarted.",
        "seen": "1 GPU",
        "mended": "",
        "run": "sudo systemctl restart docker",
    }
    assert (second["seen"], second["mended"], second["run"]) == (
        "it lacks a key",
        "the key was added",
        "",
    )


def test_a_host_is_read_as_it_is_copied() -> None:
    host = (ROOT / "tests/fakes/hosts/t4-cloud-vm.json").read_text("utf-8")
    assert opened(host)["gpus"] == "Tesla T4"
    assert opened(f"{PROMPT}{host}\n{PROMPT}") == opened(host)


def copiers_name(template: Path, folder: str, **data: str) -> str:
    """What Copier calls the project in a folder; ValueError where it takes no name."""
    worker = Worker(
        src_path=str(template), dst_path=Path(folder), data=data, defaults=True, quiet=True
    )
    worker._ask()
    return str(worker.answers.combined["project_name"])


FOLDERS = {"MyProj": "myproj", "../my proj": "my-proj", "/srv/Über": "ber", "a/..": "project"}


@pytest.mark.parametrize(("folder", "name"), FOLDERS.items())
def test_a_folder_has_the_name_that_copier_derives(template: Path, folder: str, name: str) -> None:
    assert questionnaire().answer({}, folder=folder)[1]["project_name"] == name
    assert copiers_name(template, folder) == name
    assert copiers_name(template, folder, project_name=name) == name  # the default is checked, too
    told = answer({"folder": folder})
    assert told["folder_refused"] == ""
    assert shlex.split(told["command"].splitlines()[-1]) == [TEMPLATE, folder]


def test_this_folder_can_be_named() -> None:
    assert answer({"folder": "."})["command"].endswith(f"{TEMPLATE} .")


def test_a_folder_that_copier_refuses_is_refused(template: Path) -> None:
    told = answer({"folder": "100%"})
    with pytest.raises(ValueError, match=re.escape(told["folder_refused"].rstrip("."))):
        copiers_name(template, "100%", project_name="100")
    assert (told["command"], told["problem"]) == ("", told["folder_refused"])


@pytest.mark.parametrize(
    ("folder", "words"),
    [("-x", "./-x"), ("a\nb", "be seen"), ("a\u200bb", "be seen"), ("\ud800", "be seen")],
)
def test_a_folder_that_no_shell_can_have_gets_one_sentence(folder: str, words: str) -> None:
    told = answer({"folder": folder})
    assert words in told["folder_refused"]
    assert told["folder_refused"][-1] == "."
    assert (told["command"], told["problem"]) == ("", told["folder_refused"])


def test_a_shell_finds_the_home_of_a_folder() -> None:
    assert answer({"folder": " ~/my proj "})["command"].endswith(f"{TEMPLATE} ~/'my proj'")


def test_a_link_gives_no_answer_that_the_page_does_not_show() -> None:
    link = dict.fromkeys(HIDDEN, "x-y")
    told = answer({"folder": "Other", "answers": link})
    assert told["refused"] == ""
    assert told["left_out"] == [*link]
    assert told["command"] == answer({"folder": "Other"})["command"]
    assert not {*link} & {one["name"] for one in told["questions"]}


@pytest.mark.parametrize("wrong", [{"servise": "train"}, {"jit": "maybe"}, {"flavour": "base"}])
def test_a_link_that_is_refused_has_neither_command_nor_lines(wrong: dict[str, str]) -> None:
    state = {"gpus": "5090", "driver": "570", "answers": {**wrong, "shell": "zsh"}}
    told = answer(state)
    assert told["left_out"] == [*wrong]
    assert next(iter(wrong)) in told["why"]
    assert (told["command"], told["plain"]) == ("", [])
    assert more(state) == NOTHING_MORE
    assert asked(told)["shell"] == "zsh"


def test_the_questions_are_those_that_copier_asks(template: Path, tmp_path: Path) -> None:
    source = tmp_path / "hearth"
    shutil.copytree(template, source, ignore=shutil.ignore_patterns(".git"))
    randomly = random.Random(f"questions {os.environ['HEARTH_SEED']}")
    for wanted in [*REFUSED, *(some_answers(randomly) for _ in range(40))]:
        answers: dict[str, Any] = given(wanted)
        driver = Path(DRIVER).exists()
        questions, _ = questionnaire().answer(answers, folder="myproj", driver=driver)
        # What is not asked any more is not in the page's command, and Copier refuses it.
        data = {name: value for name, value in answers.items() if questions[name].asked}
        worker = Worker(
            src_path=str(source), dst_path=tmp_path / "myproj", data=data, defaults=True, quiet=True
        )
        refused = [one.refused for one in questions.values() if one.refused]
        if refused:
            with pytest.raises(ValueError, match=re.escape(refused[0].rstrip("."))):
                worker._ask()
            continue
        try:
            worker._ask()
        except ValueError as error:
            pytest.fail(f"{data}: {error}")
        theirs = {name: value for name, value in worker.answers.user.items() if name in questions}
        assert {name: one.value for name, one in questions.items()} == theirs, data
        hidden = {name for name, one in questions.items() if not one.asked}
        assert hidden == worker.answers.hidden & set(questions), data
        assert wanted not in REFUSED


def test_pyodide_is_pinned_with_digests_and_without_addresses() -> None:
    lock = json.loads((ROOT / "website/python/package-lock.json").read_text("utf-8"))
    wanted = json.loads((ROOT / "website/python/package.json").read_text("utf-8"))["dependencies"]
    packages = {name: row for name, row in lock["packages"].items() if name}
    assert packages["node_modules/pyodide"]["version"] == wanted["pyodide"]
    assert all("integrity" in row and "resolved" not in row for row in packages.values())


def test_without_node_the_bundle_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bundle, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    bundle.node.cache_clear()
    try:
        assert bundle.main([str(tmp_path)]) == 1
    finally:
        bundle.node.cache_clear()
    assert capsys.readouterr().err == f"{bundle.NO_NODE}\n"


def test_the_command_of_the_page_is_that_of_the_documentation() -> None:
    text = (ROOT / "docs/start.md").read_text("utf-8")
    first = answer({})["command"].split(" --data ")[0].split(" \\")[0]
    assert f"{first} {TEMPLATE} myproj" in text


def test_the_matcher_reads_the_answers_as_the_hook_does() -> None:
    for service in ("simple", "train", "devel", "ngc", "hub"):
        _, known = questionnaire().answer({"service": service})
        answers = Answers(
            service=known["service"],
            accelerator=known["accelerator"],
            torch="none" if service == "ngc" else known["torch_version"],
            cuda=known["cuda_version"],
            python=known["python_version"],
            distro=known["linux_distro"],
            flavour=known["flavour"],
            ngc_release=known["ngc_release"],
            pytorch_build=known["pytorch_build"],
            cca=known["cca"],
            package_manager=known["package_manager"],
        )
        assert choice_of(known) == chosen(answers)
