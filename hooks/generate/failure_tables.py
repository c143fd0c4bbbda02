"""Makes the tables of failures in the documentation from the rows of host/known_failures/.

python -m hooks.generate.failure_tables            write them: docs/troubleshoot.md and the manual
python -m hooks.generate.failure_tables --check    say whether both are fresh (exit status 1 if not)
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "template" / "docker-amd64"))

from hooks.compat.made_files import write_or_check
from host.failure_rows import Failure, fill_in, table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "troubleshoot.md"
MANUAL = ROOT / "template" / "docker-amd64" / "README.md.jinja"
MARK, END = "failures: made by python -m hooks.generate.failure_tables", "end of failures"
# The answers with which a project can meet the rows of a kind, in the manual's template.
MET = {
    "airflow": "'airflow' in extras",
    "airflow-submit": "'airflow' in extras and clusters",
    "base-torch": "given",
    "ci": "'ci' in extras",
    "clusters": "clusters",
    "conda": "conda",
    "devcontainer": "'devcontainer' in extras",
    "cuda": "accelerator == 'cuda'",
    "data": "data_folders",
    "pip": "not conda",
    "pytorch-index": "torch_index",
    "source": "source",
    "ssh": "'ssh' in extras",
    "torch": "torch",
    "torch-cuda": "torch and accelerator == 'cuda'",
}
MANUAL_ROWS = {  # those that people meet in the first weeks
    "engine-not-running",
    "engine-permission",
    "compose-missing",
    "env-missing",
    "gpu-runtime-missing",
    "gpu-unknown",
    "gpu-files-changed",
    "gpu-driver-too-old",
    "disk-full",
    "port-taken",
    "build-certificate",
    "package-missing",
    "conda-package-missing",
    "no-versions-fit",
    "index-blocked",
    "module-missing",
    "shared-memory-small",
    "gpu-access-lost",
    "gpu-driver-changed",
    "gpu-compat-refused",
}


def by_kind() -> list[Failure]:
    """The rows, those for all projects first."""
    return sorted(table(), key=lambda one: (one.only != "all", one.only))


def code(text: str) -> str:
    """A text as code, also one with back-ticks and bars in a table."""
    text = text.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def words(text: str) -> str:
    """A text of the table for people: what is not known here is a word in capitals."""
    return fill_in(text, {"me": "template.sh", "folder": "docker-amd64"})


def causes(failure: Failure) -> str:
    """The sentences of a row."""
    if failure.cause in ("{line}", "{said}"):
        return "the line says it"
    return words(failure.cause).replace("<", "&lt;").replace("|", "\\|")


def commands(failure: Failure) -> str:
    """The command of a row, for each kind of engine and host that has its own."""
    lines: list[str] = []
    for kind, command in failure.run.items():
        shown = "the command that it prints" if command == "{advice}" else code(words(command))
        lines.append(f"{kind}: {shown}" if kind else shown)
    return "<br>".join(lines)


def seen(failure: Failure) -> str:
    """What programs say, up to three of the texts of a row."""
    texts = [code(words(text)) for text in failure.says[:3]]
    return ", ".join(texts) or "(`template.sh` finds it)"


def docs_table() -> str:
    """The table of all failures; the doctor links to a row by its id (`link` in host/doctor.py)."""
    lines = ["| failure | a program says | cause | command |", "|---|---|---|---|"]
    lines += [
        f'| <a id="{one.name}"></a>`{one.name}` | {seen(one)} | {causes(one)} | {commands(one)} |'
        for one in by_kind()
    ]
    return "\n".join(lines)


def manual_rows() -> str:
    """The rows of the manual, each where the answers let the project meet it."""
    lines: list[str] = []
    wanted = [one for one in by_kind() if one.name in MANUAL_ROWS]
    for only, failures in groupby(wanted, key=lambda one: one.only):
        rows = [manual_row(one) for one in failures]
        lines += [f"{{% if {MET[only]} %}}", *rows, "{% endif %}"] if only != "all" else rows
    return "\n".join(lines)


def manual_row(failure: Failure) -> str:
    """A row of the manual: one text, and the command for most people."""
    # Not what the health check says, which names the failure itself.
    said = next(text for text in failure.says if not text.startswith("gpu-health:"))
    command = commands(failure).partition("<br>")[0]
    if "debian" in failure.run:  # template.sh prints that of other systems
        command = code(words(failure.run["debian"]))
    return f"| {code(words(said))} | {causes(failure)} {command} |"


def with_table(file: Path, begin: str, rows: str, end: str) -> str:
    """The text of a file with this table between two lines."""
    before, _, rest = file.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{rows}\n{end}{after}"


def docs() -> str:
    """The text that docs/troubleshoot.md must have."""
    return with_table(DOCS, f"<!-- {MARK} -->", f"\n{docs_table()}\n", f"<!-- {END} -->")


def manual() -> str:
    """The text that the manual's template must have."""
    return with_table(MANUAL, f"{{# {MARK} #}}", manual_rows(), f"{{# {END} #}}")


def main(arguments: list[str]) -> int:
    """Write both files, or with --check compare them with the table."""
    texts = {DOCS: docs(), MANUAL: manual()}
    return write_or_check("hooks.generate.failure_tables", texts, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
