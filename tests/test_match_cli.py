"""The matcher as a command: answers for people and programs, one sentence for bad input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from hooks.matcher.command import main

RTX4090 = ["--driver", "550.54.15", "--gpu", "NVIDIA GeForce RTX 4090"]
V100 = ["--driver", "580.95.05", "--gpu", "Tesla V100-SXM2-16GB"]


def test_a_mismatch_is_said_with_its_reason_and_the_command_that_fixes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = ["--torch", "2.15.0", "--variant", "cu132", "--python", "3.12", "--service", "simple"]
    assert main([*RTX4090, *wanted]) == 1
    line, why, _, *commands = capsys.readouterr().out.splitlines()
    assert line.endswith("on NVIDIA GeForce RTX 4090 (8.9): fails (driver)")
    assert why.startswith("driver 550.54.15 brings CUDA 12.4, and CUDA 13.2 needs driver 580")
    assert [line.strip() for line in commands[:2]] == [
        "uv venv --python 3.12",
        "uv pip install torch==2.14.1 --torch-backend=cu126",
    ]
    assert main([*RTX4090, *wanted, "--json"]) == 1
    command = json.loads(capsys.readouterr().out)["nearest"]["command"]
    assert command.endswith("--data torch_version=2.14.1 --data cuda_version=12.6")


def test_json_has_the_verdict_the_layer_and_the_nearest_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*V100, "--torch", "2.14.1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["layer"]) == ("fails", "kernel image")
    assert told["gpu"].startswith("Tesla V100")
    assert told["nearest"]["verdict"] == "works"
    assert (told["nearest"]["torch"], told["nearest"]["cuda"]) == ("2.14.1", "12.6")


def test_the_list_answers_the_reverse_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*V100, "--service", "simple", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "PyTorch 2.14.1, CUDA 12.6 (works)"
    assert main([*V100, "--list", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["torch"], first["cuda"], first["verdict"]) == ("2.14.1", "12.6", "works")


def test_a_host_without_any_choice_gets_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    host = ["--driver", "470.57.02", "--gpu", "GeForce GTX 770"]
    assert main([*host, "--service", "simple", "--list"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("Nothing in the table works here.\ndriver 470.57.02 brings CUDA 11.4")
    # What works by itself on another processor is not denied.
    assert main(["GB10", "--driver", "580.95.05", "--service", "ngc", "--list"]) == 1
    assert capsys.readouterr().out.startswith("No project of Hearth works here: ")
    assert main(["GB10", "--driver", "580.95.05"]) == 0


def test_an_image_can_be_named_by_its_tag(capsys: pytest.CaptureFixture[str]) -> None:
    image = "nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04"
    assert main([*RTX4090, "--image", image]) == 1
    out = capsys.readouterr().out
    assert "fails (image start check)" in out
    assert "nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04" in out


def test_the_exit_status_tells_the_verdicts_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RTX4090, "--torch", "2.14.1", "--cuda", "12.6"]) == 0
    assert main([*RTX4090, "--torch", "2.99.0"]) == 3
    assert "unknown (solver)" in capsys.readouterr().out
    assert main(["--cpu", "--torch", "2.15.0", "--python", "3.12"]) == 0
    assert "CPU is what was asked" in capsys.readouterr().out
    assert main(["--cpu", "--torch", "2.15.0", "--python", "3.10"]) == 1


def test_a_gpu_can_be_given_by_compute_capability_and_brand() -> None:
    image = ["--image", "nvidia/cuda:13.0.3-cudnn-devel-ubuntu24.04"]
    host = ["--driver", "550.54.15", "--cc", "8.9"]
    assert main([*host, "--brand", "geforce", *image]) == 1
    assert main([*host, "--brand", "tesla", *image]) == 0
    assert main([*host, *image]) == 3


def test_the_probes_json_can_be_piped_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {
        "driver": "550.54.15",
        "cuda": "12.4",
        "gpus": [{"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9"}],
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(facts)))
    assert main(["--probe", "-", "--torch", "2.14.1", "--cuda", "12.6"]) == 0
    file = tmp_path / "facts.json"
    file.write_text(json.dumps({**facts, "gpus": []}))
    assert main(["--probe", str(file), "--torch", "2.14.1"]) == 3
    assert "no NVIDIA GPU was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"gpus": "abc"}',
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b'{"gpus": [{"compute_capability": 1e999}]}',
    ],
)
def test_a_probe_file_of_another_form_gets_one_sentence(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(content)
    assert main(["--probe", str(file), "--torch", "2.14.1"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("hooks.match: ")
    assert printed.err.count("\n") == 1


def test_json_names_the_image_to_take(capsys: pytest.CaptureFixture[str]) -> None:
    image = "nvidia/cuda:12.4.1-cudnn8-devel-ubuntu22.04"
    assert main([*RTX4090, "--image", image, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["nearest"]["image"] == "nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--driver", "new", "--gpu", "T4"], "'new' is not a driver version"),
        (["--driver", "580.95.05"], "--driver needs a GPU"),
        (["--driver", "580.95.05", "--list"], "--driver needs a GPU"),
        (["--driver", "580.95.05", "--gpu", ""], "no GPU given"),
        ([*RTX4090, "--cca", "9.0,8.6"], "cca has a comma"),
        ([*RTX4090, "--torch", "newest"], "'newest' is not a PyTorch version"),
        ([*RTX4090, "--image", "ubuntu"], "'ubuntu' is not an image in the table"),
        (["--probe", "/nonexistent"], "/nonexistent cannot be read: No such file or directory"),
        (["--gpu", "T4", "--list"], "to list what works the driver is needed"),
        (["--driver", "\u0665\u0665\u0660.\u0665\u0664", "--gpu", "T4"], "is not a driver version"),
    ],
)
def test_bad_input_gets_one_sentence_and_no_traceback(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert printed.err.count("\n") == 1
