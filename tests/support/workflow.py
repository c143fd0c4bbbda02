"""The steps of a generated project's CI, read from the files that the hosts read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SCRIPT = "./docker-amd64/template.sh"
EXPRESSION = re.compile(r"\$\{\{ *([\w.]+) *\}\}")


@dataclass(frozen=True)
class Step:
    """One step: the shell's text, its environment, and the condition, or ""."""

    run: str
    env: Mapping[str, str] = field(default_factory=dict)
    condition: str = ""

    @property
    def words(self) -> list[str]:
        """The command as a list, without variables in front of it."""
        words = shlex.split(self.run)
        return words[words.index(SCRIPT) :] if SCRIPT in words else words

    @property
    def verb(self) -> str:
        """The step: the VERB of `template.sh ci VERB`."""
        return self.words[self.words.index("ci") + 1]


def read(path: Path) -> dict[str, Any]:
    """A YAML file; `on` is a name there, not YAML's word for true."""
    text = re.sub(r"(?m)^on:", '"on":', path.read_text())
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def github_steps(workflow: Mapping[str, Any], job: str, values: Mapping[str, str]) -> list[Step]:
    """The `run` steps of a job of a workflow of GitHub, in their order.

    Args:
        workflow: what `read` gives.
        job: its name.
        values: what expressions stand for, such as github.actor; an unknown one is a KeyError.
    """

    def filled(env: Mapping[str, str]) -> dict[str, str]:
        fill = (
            (name, EXPRESSION.sub(lambda found: values[found[1]], str(text)))
            for name, text in env.items()
        )
        return dict(fill)

    common = filled(workflow.get("env", {}))
    return [
        Step(step["run"], common | filled(step.get("env", {})), step.get("if", ""))
        for step in workflow["jobs"][job]["steps"]
        if "run" in step
    ]


def gitlab_steps(pipeline: Mapping[str, Any], job: str) -> list[Step]:
    """The lines of a job of a pipeline of GitLab that call the script, in their order."""
    steps = []
    pattern = re.compile(
        r"(?:if (?P<condition>.*); then )?(?P<env>(?:\w+=\S+ )*)(?P<run>.*?)(?:; fi)?"
    )
    for line in [*pipeline[job]["script"], *pipeline[pipeline[job]["extends"]]["after_script"]]:
        found = pattern.fullmatch(line)
        if found and found["run"].startswith(SCRIPT):
            env = dict(word.split("=", 1) for word in found["env"].split())
            steps.append(Step(found["run"], env, found["condition"] or ""))
    return steps
