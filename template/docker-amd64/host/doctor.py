"""doctor: finds what is wrong with a machine or a project, and says which command helps."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ask import read_text
from .checkout import recorded
from .description import hardware_module, read_description, this_machine
from .env_file import ProbeError
from .failure_rows import row
from .failures import everywhere, speak
from .findings import ERROR, Results, Subject, examine
from .plain import wrapped
from .project import called_from
from .versions import address

if TYPE_CHECKING:
    import argparse

    from .findings import Check, Finding
    from .project import Project, StopError

# A project has those that its answers need. Of another machine, only facts can be judged.
OF_FACTS = ("doctor_host", "doctor_source", "doctor_gpus")
OF_FILES = (
    *("doctor_env", "doctor_folders", "doctor_files", "doctor_project", "doctor_network"),
    *("doctor_pip", "doctor_gpu_files", "doctor_ssh"),
)
PAGE = "docs/troubleshoot.md"  # of the template


def doctor_options(parser: argparse.ArgumentParser) -> None:
    """In which form, and whether to mend."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--fix", action="store_true", help="mend what is safe to undo")
    only.add_argument(
        "--host", metavar="FILE", help="judge the machine that FILE of `env --json` describes"
    )


def do_doctor(project: Project, options: argparse.Namespace) -> int:
    """Examine this machine and the project: 0 all is well, 1 warnings, 2 something cannot work."""
    if options.host:
        found = read_description(project, called_from() / options.host)
    else:
        found = this_machine(project)
    subject = Subject(project, *found, replayed=bool(options.host))
    results = examine(subject, checks(replayed=subject.replayed))
    if hardware_module() and subject.hardware is None:
        results = results._replace(unchecked=(*results.unchecked, "GPUs: nothing is known"))
    mended = mend(results) if options.fix else {}
    status = status_of(one for at, one in enumerate(results.findings) if at not in mended)
    print(
        as_json(subject, results, mended, status)
        if options.json
        else as_text(subject, results, mended)
    )
    return status


def checks(*, replayed: bool) -> tuple[Check, ...]:
    """The checks of the modules that this project has."""
    names = OF_FACTS if replayed else OF_FACTS + OF_FILES
    here = (name for name in names if Path(__file__).with_name(f"{name}.py").is_file())
    modules = [import_module(f".{name}", __package__) for name in here]
    return tuple(check for module in modules for check in module.CHECKS)


def mend(results: Results) -> dict[int, str]:
    """What was mended of the findings, by their places, in sentences. The others stay as found."""
    mended = {}
    for at, one in enumerate(results.findings):
        if one.mend:
            with suppress(ProbeError, OSError):
                mended[at] = one.mend()
    return mended


def status_of(findings: Any) -> int:
    """The exit status for what is still wrong."""
    return max((2 if one.level == ERROR else 1 for one in findings), default=0)


def words_of(subject: Subject, finding: Finding) -> StopError:
    """A finding as the table of failures words it."""
    known = {**everywhere(subject.project), **finding.known}
    return speak(row(finding.name), known, subject.facts.engine.kind, subject.details.hosts)


def as_text(subject: Subject, results: Results, mended: dict[int, str]) -> str:
    """For people: one line for what is fine, then each finding."""
    lines = [f"fine: {len(results.fine)} checks"]
    lines += [f"could not be checked: {name}" for name in results.unchecked]
    for at, finding in enumerate(results.findings):
        stop = words_of(subject, finding)
        lines += ["", f"{finding.level}: {finding.name}", *wrapped(stop.sentence)]
        lines += wrapped(f"Seen: {finding.evidence}")
        lines += wrapped(f"Mended: {mended[at]}") if at in mended else [f"  Run: {stop.command}"]
        lines.append(f"  See: {link(subject.project, finding.name)}")
    return "\n".join(lines)


def explained(project: Project) -> str:
    """The page of the documentation with all findings: on the web, if the template is from there.

    Else it is a file of the template.
    """
    text = read_text(project.root / project.answers_file)
    template = address(recorded(text, "_src_path"))
    if not template.startswith("https://"):
        return PAGE
    return f"{template[: -len('.git')] if template.endswith('.git') else template}/blob/HEAD/{PAGE}"


def link(project: Project, name: str) -> str:
    """The place of that page that explains a finding; hooks/generate/failure_tables.py makes it."""
    return f"{explained(project)}#{name}"


def as_json(subject: Subject, results: Results, mended: dict[int, str], status: int) -> str:
    """For programs."""
    found = []
    for at, finding in enumerate(results.findings):
        stop = words_of(subject, finding)
        found.append(
            {
                "id": finding.name,
                "level": finding.level,
                "cause": stop.sentence,
                "evidence": finding.evidence,
                "command": stop.command,
                "link": link(subject.project, finding.name),
                "mendable": finding.mend is not None,
                "mended": mended.get(at, ""),
            }
        )
    document = {
        "status": status,
        "findings": found,
        "fine": results.fine,
        "unchecked": results.unchecked,
        "explained": explained(subject.project),
    }
    return json.dumps(document, indent=2)
