"""The update of a project, as template.sh of any older version calls it.

    python -B -m hooks.update request.json

in the folder of this version's files, with template/docker-amd64 on PYTHONPATH. It decides on the
version, tells what that brings, and becomes perform.py in the Python of a Copier. It runs in the
Python that template.sh has found, which may be 3.8.

request.json (format 1): project (root, docker, answers_file, template, version, git, head), state
(the folder for what takes the update back), repository (a git folder with the template's history),
engine (the version that this is, as that repository names it), scratch, exact (whether its files
were unpacked as they were committed; in template.sh of 0.12 and before, the user's attributes can
change them), version (what the person asks for, "" for the newest), data (KEY=VALUE), and whether
to check only, to ask nothing (yes), and to go on after conflicts (goes_on).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from hooks.update.copiers import LOCK, copier_python
from hooks.update.versions import CURRENT, base_version, news, same_commit, target
from host.ask import read_text, stay_here
from host.checkout import Checkout, go_on
from host.env_file import ProbeError
from host.plain import plain, write_plainly
from host.versions import number, unpack


def project_of(request: dict[str, Any]) -> Checkout:
    """The project of a request."""
    told = request["project"]
    return Checkout(
        root=Path(told["root"]),
        docker=Path(told["docker"]),
        answers_file=told["answers_file"],
        template=told["template"],
        version=told["version"],
        git=Path(told["git"]),
        head=told["head"],
    )


def can_ask() -> bool:
    """Whether there is a person who can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def agrees(question: str) -> bool:
    """What a person at the terminal answers; yes by default."""
    try:
        # Python writes the question without sys.stdout.
        return input(f"{plain(question)} [Y/n] ").strip().lower() in ("", "y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def exact_engine(request: dict[str, Any], engine: Path) -> Path:
    """This version's files as they were committed. Raises UpdateError.

    What they are rendered from, and what runs next, must not have other line ends.
    """
    if request.get("exact"):
        return engine
    again = Path(request["scratch"]) / "exact"
    if not unpack(Path(request["repository"]), request["engine"], again):
        return engine
    os.environ["PYTHONPATH"] = str(again / "template/docker-amd64")
    os.chdir(again)  # where Python finds the next program
    return again


def become(request: dict[str, Any], python: str, file: str) -> NoReturn:
    """Become the part that Copier's Python runs."""
    Path(file).write_text(json.dumps(request), "utf-8")
    sys.stdout.flush()
    os.execv(python, [python, "-B", "-m", "hooks.update.perform", file])  # noqa: S606


def proceed(request: dict[str, Any], file: str) -> int:
    """Tell what an update would bring, and go on to it; the exit status. Raises StopError."""
    project, repository = project_of(request), Path(request["repository"])
    engine = Path(__file__).resolve().parents[2]
    if request["goes_on"]:
        return go_on(project)
    fetched = repository.resolve().parent == Path(request["scratch"]).resolve()
    wanted = target(
        project, repository, request["version"], answers=bool(request["data"]), fetched=fetched
    )
    now = base_version(repository, project.version)
    newest = (bool(now) and number(wanted) == now) or same_commit(
        repository, wanted, project.version
    )
    told = "" if wanted == CURRENT else news(repository, project.version, wanted)
    if newest and not request["data"]:
        print(f"The project has the newest version already: {project.version}.")
        return 0
    if told:
        print(f"{told}\n")
    if wanted != CURRENT and not newest:
        print(f"From {project.version} to {wanted}.")
    if request["check"]:
        return 0
    python = copier_python(read_text(engine / LOCK))
    if can_ask() and not request["yes"] and not agrees("Update the project?"):
        print("Nothing was changed.")
        return 1
    engine = exact_engine(request, engine)
    if same_commit(repository, request["engine"], wanted):
        request["source"] = str(engine)
    request["wanted"] = project.version if wanted == CURRENT else wanted
    request["news"] = told
    become(request, python, file)


def main(file: str) -> int:
    """The command line; the exit status."""
    write_plainly()
    stay_here(os.environ)  # template.sh of an older version has not
    try:
        return proceed(json.loads(Path(file).read_text("utf-8")), file)
    except ProbeError as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
