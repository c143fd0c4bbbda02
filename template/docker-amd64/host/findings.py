"""What the doctor finds: a finding, what is examined, and the run of the checks.

A check is a function that takes a `Subject` and yields a `Finding` for each thing that is wrong. It
reads facts only, so that another machine's can be judged too; doctor_project.py, which looks at
the project's own files, is the exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple

from .ask import gather

if TYPE_CHECKING:
    from .doctor_facts import Details
    from .facts import Facts
    from .project import Project

ERROR, WARNING = "error", "warning"
CHECK_LIMIT = 3.0  # seconds for all checks of a module, which run at once


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
        name: the id of a row of the table of failures, which has the cause and the command.
        level: ERROR, it will not work; WARNING, it works, but may fail later.
        evidence: one short line that says what was seen.
        known: words that fill the row; `cause` and `remedy` replace those of the row.
        mend: what --fix does. It is safe to undo; it returns one sentence on what it did.
    """

    name: str
    level: str
    evidence: str
    known: Mapping[str, str] = {}
    mend: Callable[[], str] | None = None


class Subject(NamedTuple):
    """What is examined.

    Attributes:
        project: the project that is to run.
        facts: what the probe knows of the machine.
        details: what only the doctor asks of a machine.
        hardware: what only the doctor asks of the accelerator; None if nothing is known.
        replayed: whether the facts are another machine's, read from a file.
    """

    project: Project
    facts: Facts
    details: Details
    hardware: Any = None
    replayed: bool = False


Check = Callable[[Subject], Iterator[Finding]]


class Results(NamedTuple):
    """What came of the checks: the findings, and the names of the other checks.

    Attributes:
        findings: errors first.
        fine: checks that found nothing.
        unchecked: checks that failed or gave no answer in time.
    """

    findings: tuple[Finding, ...]
    fine: tuple[str, ...]
    unchecked: tuple[str, ...]


def spoken(check: Check) -> str:
    """The name of a check for people."""
    return check.__name__.replace("_", " ")


def examine(subject: Subject, checks: tuple[Check, ...], limit: float = CHECK_LIMIT) -> Results:
    """Run checks at once, for at most `limit` seconds. A check that fails stops no other."""

    def asked(check: Check) -> Callable[[], tuple[Finding, ...]]:
        return lambda: tuple(check(subject))

    answers = gather({spoken(check): asked(check) for check in checks}, limit)
    names = [spoken(check) for check in checks]
    findings = [one for name in names for one in answers.get(name, ())]
    return Results(
        tuple(sorted(findings, key=lambda one: one.level != ERROR)),
        tuple(name for name in names if answers.get(name) == ()),
        tuple(name for name in names if name not in answers),
    )
