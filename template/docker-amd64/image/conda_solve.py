"""Lets micromamba find packages that fit, and says in one sentence why it finds none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import conda_file
from conda_file import MAIN
from conda_lock import CondaError, channels_of, specs_of, virtual_packages
from intake.text import without_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conda_file import Environment


class UnsolvableError(CondaError):
    """No packages fit what is asked for."""


class AbsentError(UnsolvableError):
    """No channel has what some lines ask for; `specs` are those lines as micromamba writes them."""

    def __init__(self, sentence: str, specs: Sequence[str]) -> None:
        """Keep the lines."""
        super().__init__(sentence)
        self.specs = specs


class ConflictError(UnsolvableError):
    """Packages do not go together; `problems` are the solver's sentences."""

    def __init__(self, sentence: str, problems: Sequence[str]) -> None:
        """Keep the sentences."""
        super().__init__(sentence)
        self.problems = problems


def solve(files: dict[str, Environment], pins: Iterable[str]) -> list[dict[str, Any]]:
    """Let micromamba choose packages for all files together; gives its records of them.

    Raises:
        UnsolvableError: a package does not exist, or two do not go together.
        CondaError: a channel cannot be read, or there is no micromamba.
    """
    content = {"channels": channels_of(files), "dependencies": specs_of(files)}
    virtual = virtual_packages()
    environment = {
        **os.environ,
        "CONDA_OVERRIDE_ARCHSPEC": virtual["__archspec"],
        "CONDA_OVERRIDE_CUDA": virtual.get("__cuda", ""),
        "CONDA_OVERRIDE_GLIBC": virtual["__glibc"],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["micromamba", "create", "--dry-run", "--json", "--yes"]
        command += ["--prefix", str(folder / "prefix"), "--channel-priority", "strict"]
        if kept := list(pins):
            rc = folder / "pins.yml"
            rc.write_text(yaml.safe_dump({"pinned_packages": kept}), encoding="utf-8")
            command += ["--rc-file", str(rc)]
        file = folder / MAIN
        file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        done = execute([*command, "--file", str(file)], environment)
    try:
        answer = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        answer = {}
    records = answer.get("actions", {}).get("LINK", [])
    if done.returncode or not answer.get("success") or not records:
        raise explained(answer, done.stderr, channels_of(files))
    return list(records)


def execute(
    command: list[str], environment: dict[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program and keep what it says.

    Raises:
        CondaError: it is not there.
    """
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CondaError(f"{command[0]} cannot be started: {error.strerror}.") from None


def explained(answer: dict[str, Any], stderr: str, channels: list[str]) -> CondaError:
    """What micromamba's failure means, as one sentence."""
    problems = [" ".join(str(problem).split()) for problem in answer.get("solver_problems", [])]
    log = [str(row.get("message", "")) for row in answer.get("log_history", [])]
    words = without_secret("\n".join([*problems, *log, stderr]))
    words = re.sub(r"\x1b\[[0-9;]*m", "", words)
    asked = ", ".join(name for name in channels if name != conda_file.NO_DEFAULTS)
    absent = re.search(
        r"nothing provides (?:requested )?(.+?)(?: needed by (\S+))?\s*$", words, re.MULTILINE
    )
    unknown = re.search(r"[─-]\s*(.+?) does not exist \(perhaps", words)
    if absent and absent[1].startswith("__"):
        has = " ".join("=".join(pair) for pair in virtual_packages().items())
        return UnsolvableError(f"{absent[2]} needs {absent[1]}, but the images have {has}.")
    if absent and absent[2]:
        return ConflictError(
            f"{absent[2]} needs {absent[1]}, which is not in the channels ({asked}).", problems
        )
    if missing := absent or unknown:
        requested = re.findall(r"(?m)nothing provides requested (.+?)\s*$", words)
        return AbsentError(
            f"There is no package {missing[1].strip()} in the channels ({asked}).",
            requested or [missing[1].strip()],
        )
    if not problems and (channel := unreachable(words)):
        return CondaError(channel)
    said = (
        "; ".join(dict.fromkeys(problems)) or " ".join(words.split()) or "micromamba said nothing"
    )
    if len(said) > 400:  # noqa: PLR2004
        said = said[:400].rsplit(" ", 1)[0] + " ..."
    if problems or "Could not solve" in words:
        return ConflictError(
            f"No packages fit the environment files: {said.rstrip('.')}.", problems
        )
    return CondaError(f"micromamba failed: {said.rstrip('.')}.")


NO_CHANNEL = re.compile(
    r"Could not (?:resolve|connect)|Couldn't|Download error|Failed to|[Tt]imed? ?out|"
    r"[Cc]ertificate|(?:status|code)\D{0,30}[45]\d\d|(?:load|retrieve) repodata"
)


def unreachable(words: str) -> str:
    """The sentence on a channel that cannot be read, "" where it is something else."""
    line = next((line for line in words.splitlines() if NO_CHANNEL.search(line)), "")
    if not line:
        return ""
    url = re.search(r"(?:https?|file)://[^\s\]\"']+", words)
    where = f"The channel of {url[0]}" if url else "A channel"
    keys = "CONDA_AUTH_FILE (tokens) or NETRC_FILE (passwords)"
    if re.search(r"\b40[13]\b", words):
        return f"{where} cannot be read without a login: name a file of it as {keys} in .env."
    # Some servers say so to everybody without a login.
    if re.search(r"(?:status|code)\D{0,30}404\b", words):
        return (
            f"{where} cannot be read: it is not there, or needs a login, whose file .env names as "
            f"{keys}."
        )
    return f"{where} cannot be read: {' '.join(line.split())[:200].rstrip('.')}."
