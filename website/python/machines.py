"""The machine that somebody describes on the page: typed, pasted, or a file dropped onto it."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from hooks.matcher import BadInputError, Host, from_probe, gpu, host
from hooks.matcher.hosts import parse_driver
from hooks.matcher.names import is_virtual
from hooks.matcher.typed_host import split_words, why_unknown

# The table of nvidia-smi: | 0  NVIDIA GeForce RTX 4090  Off | 00000000:01:00.0 Off | ...
# The bus behind the name tells a GPU from a process, which has N/A at its end in Windows and WSL.
_SMI_ROW = re.compile(
    r"^\|\s+\d+\s+(\S.*?)\s+(?:On|Off|N/A|WDDM|TCC|MCDM)\s*"
    r"\| *(?:[0-9A-F]+:[0-9A-F]+:[0-9A-F]+\.[0-9A-F]|N/A)",
    re.MULTILINE | re.IGNORECASE,
)
_SMI_DRIVER = re.compile(r"(?:Driver|KMD) Version:\s*([0-9][0-9.]+)")
_SMI_MIG = re.compile(r"\s*MIG .*Device\s+[0-9]+:.*")
PARTS = ("Seen", "Mended", "Run")  # of a finding of doctor, behind its cause
LINK = "See"  # what is behind them
_REPORT = re.compile(r"^fine: [0-9]+ checks", re.MULTILINE)
_BLOCK = re.compile(r"^(error|warning): ([a-z0-9-]+)[ \t]*$", re.MULTILINE)
_PART = re.compile(rf"^[ \t]*({'|'.join((*PARTS, LINK))}): ", re.MULTILINE)
_JSON = re.compile(r"^\s*(?=\{)", re.MULTILINE)
UNKNOWN_GPU = "is not an NVIDIA GPU in the table: name it as nvidia-smi -L does"
MOST_TEXT = 1 << 20  # characters; the page reads no longer file
MOST_GPUS = 64
FORMS = "the output of `template.sh env --json`, of `template.sh doctor` or of `nvidia-smi`"


class Machine(NamedTuple):
    """A machine as far as it is described.

    Attributes:
        host: None where no GPU is named, or something is refused.
        refused: one sentence, "" if all is understood.
        field: gpus or driver, the field that the sentence is about.
        could_be: the products that an ambiguous name fits.
    """

    host: Host | None = None
    refused: str = ""
    field: str = ""
    could_be: tuple[str, ...] = ()


def split_names(text: str) -> list[str]:
    """The names of GPUs in what was typed or pasted, each as often as it is there.

    Commas, semicolons and line ends part names; `nvidia-smi`, with and without -L, is understood.
    """
    rows = _SMI_ROW.findall(text)
    if rows:
        return [str(row) for row in rows]
    lines = [line for line in text.splitlines() if line.strip() and not _SMI_MIG.fullmatch(line)]
    if any(re.match(r"\s*GPU [0-9]+:", line) for line in lines):
        return [line.strip() for line in lines if re.match(r"\s*GPU [0-9]+:", line)]
    parts = [part for line in lines for part in re.split(r"[,;]", line)]
    return [name for part in parts for name in split_words(part.split())]


def described(text: str, driver: str, facts: Any = None) -> Machine:
    """The machine of the page's fields.

    Args:
        text: of the field for GPUs.
        driver: of the field for the driver, "" where it is not known.
        facts: a host that was dropped onto the page; it goes before the fields.
    """
    if facts is not None:
        try:
            found = from_probe(facts)
        except BadInputError as error:
            return Machine(refused=_sentence(error), field="gpus")
        return Machine(found)
    version = driver.strip() or next(iter(_SMI_DRIVER.findall(text)), "")
    try:
        version = parse_driver(version) if version else ""
    except BadInputError as error:
        return Machine(refused=_sentence(error), field="driver")
    try:
        return _of_names(split_names(text), version)
    except BadInputError as error:
        return Machine(refused=_sentence(error), field="gpus")


def _of_names(names: list[str], driver: str) -> Machine:
    if len(names) > MOST_GPUS:
        said = f"There are {len(names)} GPUs in the field: name {MOST_GPUS} at most."
        return Machine(refused=said, field="gpus")
    found = []
    for name in names:
        one = gpu(name)
        if one.could_be:
            said = f"{one.name} can be {' or '.join(one.could_be)}: choose one of them."
            return Machine(refused=said, field="gpus", could_be=one.could_be)
        if one.cc is None:
            said = f"{one.name[:80]} {why_unknown(one.name)}"
            if "--cc" in said or "--cpu" in said:  # options of the command
                said = f"{one.name[:80]} {UNKNOWN_GPU}"
            return Machine(refused=f"{said}.".replace("\n", " "), field="gpus")
        # In full, as the command says it.
        found.append(one if is_virtual(name) or not one.product else one._replace(name=one.product))
    return Machine(host(driver or None, found) if found else None)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def read_file(text: str) -> dict[str, Any]:
    """What a dropped file or a pasted text is.

    Returns:
        kind: host (with facts, gpus, driver), names (with gpus, driver), doctor (with findings and
        status), or nothing, with one sentence in refused.
    """
    if len(text) > MOST_TEXT:
        return _nothing(f"The file is too long: drop {FORMS}.")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")  # as Windows writes it
    report, document = _REPORT.search(text), _JSON.search(text)
    if report:
        return {"kind": "doctor", "findings": _findings_of_text(text[report.start() :])}
    if _SMI_ROW.search(text) or re.search(r"^\s*GPU [0-9]+:", text, re.MULTILINE):
        driver = next(iter(_SMI_DRIVER.findall(text)), "")
        return {"kind": "names", "gpus": _named(split_names(text)), "driver": driver}
    if document:
        return _read_json(text[document.end() :])
    return _nothing(f"The file is none that this page can judge: drop {FORMS}.")


def _read_json(text: str) -> dict[str, Any]:
    """A document, behind which a prompt may be left."""
    try:
        document, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return _nothing(f"The file is not valid JSON: drop {FORMS} as it was printed.")
    return _document(document)


def _nothing(said: str) -> dict[str, Any]:
    return {"kind": "nothing", "refused": said}


def _named(lines: list[str]) -> str:
    """Names of `nvidia-smi -L` without number and UUID."""
    return ", ".join(re.sub(r"^GPU [0-9]+:\s*|\s*\(UUID:.*", "", line) for line in lines)


def _document(document: dict[str, Any]) -> dict[str, Any]:
    if isinstance(document.get("findings"), list) and "gpus" not in document:
        rows = [row for row in document["findings"] if isinstance(row, dict)]
        keys = {
            "id": "id",
            "level": "level",
            "cause": "cause",
            "seen": "evidence",
            "mended": "mended",
            "run": "command",
        }
        found = [{key: str(row.get(name, "")) for key, name in keys.items()} for row in rows]
        for one in found:
            one["run"] = "" if one["mended"] else one["run"]  # as the report has it
        return {"kind": "doctor", "findings": found}
    if not {"gpus", "driver", "engine"} & document.keys():
        return _nothing(f"The file does not describe a machine: drop {FORMS}.")
    machine = described("", "", document)
    if machine.refused:
        return _nothing(machine.refused)
    if machine.host is None:
        return _nothing(
            "The file says nothing of an NVIDIA GPU: name GPU and driver in the fields."
        )
    names = ", ".join(item.name or item.product for item in machine.host.gpus)
    return {"kind": "host", "facts": document, "gpus": names, "driver": machine.host.driver or ""}


def _findings_of_text(text: str) -> list[dict[str, str]]:
    """The findings of a doctor's report as it is printed."""
    parts = _BLOCK.split(text)
    found = []
    for level, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        cause, *rest = _PART.split(body.strip("\n").partition("\n\n")[0])
        said = dict(zip(rest[::2], rest[1::2], strict=True))
        texts = {"cause": cause} | {key.lower(): said.get(key, "") for key in PARTS}
        joined = {key: " ".join(value.split()) for key, value in texts.items()}
        found.append({"id": name, "level": level, **joined})
    return found
