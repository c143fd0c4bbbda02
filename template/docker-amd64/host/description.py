"""The description of a machine: what env --json writes and doctor --host reads.

A newer version may have keys that this one ignores, an older one may lack some: those are unknown.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .ask import gather, read_text
from .doctor_facts import DETAILS_LIMIT, Details, details
from .facts import Facts
from .failures import failed
from .probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from .project import Project

PLAIN = {"str": str, "int": int, "bool": bool}
# What is left out of a description without personal details, and texts that may name a path.
PERSONAL = ("user", "project_owner", "data_owner", "timezone", "ca_bundle", "warnings")
FREE_TEXTS = ("problem", "fix", "note", "gpu_note", "root_dir", "path")
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)


class Description(NamedTuple):
    """A machine.

    Attributes:
        facts: what the probe knows.
        details: what only the doctor asks.
        hardware: what only the doctor asks of the accelerator; None if nothing is known.
    """

    facts: Facts
    details: Details
    hardware: Any = None


def hardware_module() -> Any:
    """The module that asks the accelerator; None in a project without one."""
    name = "doctor_gpu_facts"
    here = Path(__file__).with_name(f"{name}.py").is_file()
    return import_module(f".{name}", __package__) if here else None


def this_machine(project: Project) -> Description:
    """Ask this machine."""
    module = hardware_module()
    facts = probe(project.folder)
    asked: dict[str, Callable[[], Any]] = {"details": lambda: details(facts, project.folder)}
    if module:
        asked["hardware"] = lambda: module.gpu_details(facts)
    found = gather(asked, 2 * DETAILS_LIMIT)  # each has a limit of its own
    return Description(facts, found.get("details", Details()), found.get("hardware"))


# ----------------------------------------------------------------------------------------- writing


def written(found: Description, *, anonymous: bool = False) -> dict[str, Any]:
    """A description as a JSON object; `anonymous` has nothing about persons and places."""
    data = {**found.facts.as_dict(), "details": asdict(found.details)}
    if found.hardware is not None:
        data["hardware"] = asdict(found.hardware)
    if not anonymous:
        return data
    names = [str(Path.home()), os.uname().nodename]
    names += [found.facts.user.name] if found.facts.user else []
    cleaned: dict[str, Any] = without_persons(data, Cleaner(names))
    if cleaned["details"]["context"] not in ("", "default", "desktop-linux", "rootless"):
        cleaned["details"]["context"] = "other"
    return cleaned


class Cleaner:
    """Takes names, folders of homes and UUIDs out of texts."""

    def __init__(self, names: list[str]):
        """Take what is to be replaced in free texts."""
        self.names = re.compile("|".join(rf"{re.escape(one)}(?!\w)" for one in names))
        self.uuids: dict[str, str] = {}

    def clean(self, key: str, text: str) -> str:
        """The text of a key without them; a UUID is always the same number."""
        text = UUID.sub(
            lambda one: self.uuids.setdefault(one[0].lower(), str(len(self.uuids))), text
        )
        if key not in FREE_TEXTS:
            return text
        text = self.names.sub("NAME", text)
        return re.sub(r"(/home|/Users|/run/user|/data|/mnt|/srv)/[^\s:'\"]+", r"\1/NAME", text)


def without_persons(value: Any, cleaner: Cleaner, key: str = "") -> Any:
    """A part of a description without what is personal."""
    if isinstance(value, dict):
        kept = ((name, one) for name, one in value.items() if name not in PERSONAL)
        return {name: without_persons(one, cleaner, name) for name, one in kept}
    if isinstance(value, (list, tuple)):
        return [without_persons(one, cleaner, key) for one in value]
    return cleaner.clean(key, value) if isinstance(value, str) else value


# ----------------------------------------------------------------------------------------- reading


class OddError(Exception):
    """A part of a description that is not of its form; the text says which."""


def read_description(project: Project, path: Path) -> Description:
    """The machine that a file describes.

    Raises:
        StopError: there is no such file, or it is not a description.
    """
    try:
        if not path.is_file():
            raise OddError("there is no such file")  # noqa: TRY301  one place words them all
        return description(json.loads(read_text(path)))
    except (ValueError, RecursionError):
        raise failed("host-file", project, path=str(path), reason="it is not JSON") from None
    except OddError as error:
        raise failed("host-file", project, path=str(path), reason=str(error)) from None


def description(data: Any) -> Description:
    """The machine that a JSON object describes. Raises OddError."""
    if not isinstance(data, dict) or not isinstance(data.get("engine"), dict):
        raise OddError("it has no object named engine")
    module = hardware_module()
    kind = Facts
    if module and "gpus" in data:
        kind = import_module(".gpu_facts", __package__).GpuFacts
    hardware = None
    if module and data.get("hardware") is not None:
        hardware = build(module.GpuDetails, data["hardware"], "hardware")
    more = {} if data.get("details") is None else data["details"]
    return Description(build(kind, data, ""), build(Details, more, "details"), hardware)


def build(kind: type[Any], data: Any, where: str) -> Any:
    """A dataclass from a JSON object; what is missing or null has its default. Raises OddError."""
    if not isinstance(data, dict):
        raise OddError(f"{where} is not an object")
    values = {}
    for one in fields(kind):
        if data.get(one.name) is not None:
            at = f"{where}.{one.name}" if where else one.name
            values[one.name] = convert(str(one.type), data[one.name], kind, at)
    try:
        return kind(**values)
    except TypeError:
        raise OddError(f"{where} lacks a key") from None


def convert(kind: str, value: Any, owner: type[Any], where: str) -> Any:
    """A value of JSON as an annotation of `owner` wants it. Raises OddError."""
    kind = kind.replace(" | None", "")
    parts = re.fullmatch(r"tuple\[(\w+), \.\.\.\]", kind)
    if parts:
        if not isinstance(value, list):
            raise OddError(f"{where} is not a list")
        return tuple(convert(parts[1], one, owner, where) for one in value)
    if kind not in PLAIN:
        return build(class_of(kind, owner), value, where)
    if not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
        words = {"str": "a text", "int": "a whole number", "bool": "true or false"}
        raise OddError(f"{where} is not {words[kind]}")
    return value


def class_of(name: str, owner: type[Any]) -> type[Any]:
    """The dataclass of a name in an annotation of `owner` or of what it extends."""
    spaces = (vars(sys.modules[one.__module__]) for one in owner.__mro__)
    found: type[Any] = next(space[name] for space in spaces if is_dataclass(space.get(name)))
    return found
