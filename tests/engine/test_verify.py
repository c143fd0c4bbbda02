"""`template.sh verify`: what was asked for is what is in the images."""

from __future__ import annotations

import json

from tests.support.process import run
from tests.support.project import Project


def test_verify_says_for_both_images_that_the_cpu_is_what_was_asked(torch_project: Project) -> None:
    report = json.loads(torch_project.ok("verify", "--json"))
    assert report.keys() == {"runtime", "dev"}
    for image in report.values():
        assert image["ok"] is True
        said = {check["name"]: check["says"] for check in image["checks"]}
        assert said["CUDA build"] == "CPU is what was asked: PyTorch has no CUDA"
    table = torch_project.ok("verify", "runtime")
    assert "imports" in table


def test_verify_fails_with_the_reason_when_the_image_is_not_what_was_asked(
    torch_project: Project,
) -> None:
    asked = ("-e", "CHOSEN_ACCELERATOR=cuda", "-e", "CHOSEN_TORCH=2.0.0", "-e", "CHOSEN_CUDA=13.2")
    command = ("docker", "run", "--rm", *asked, torch_project.image("runtime"))
    result = run(*command, "python", "/opt/container/verify.py")
    assert result.returncode == 1
    assert "2.0.0 was asked" in result.stdout
    assert "CUDA was asked, but PyTorch is a CPU build" in result.stdout


def test_verify_says_what_to_type_instead_of_an_unknown_option(torch_project: Project) -> None:
    result = torch_project.sh("verify", "everything")
    assert result.returncode == 1
    assert "verify knows runtime and dev, not everything." in result.stderr
