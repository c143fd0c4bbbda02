"""What the doctor finds in uv.lock, which records the index that its packages come from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Iterator
from urllib.parse import urlsplit

from .ask import read_text
from .doctor_env import needs_env
from .findings import ERROR, Finding
from .passwords import rule
from .pip_packages import LOCK

if TYPE_CHECKING:
    from .findings import Check, Subject

INDEX = re.compile(r'source = \{ registry = "([^"]*)" \}')
NAMED = re.compile(r'(?m)^url = "([^"]*)"')  # of [[tool.uv.index]] in pyproject.toml
FILE = re.compile(r'\{ url = "([^"]*)"')


@needs_env
def index_of_lock(subject: Subject) -> Iterator[Finding]:
    """Whether the lock was made with the index that .env names: another one counts as changed."""
    project = subject.project
    folder = project.folder / "dependencies"
    text = read_text(folder / LOCK)
    own = {plain(url) for url in NAMED.findall(read_text(folder / "pyproject.toml"))}
    found = {plain(url) for url in INDEX.findall(text)} - own
    here = plain(project.settings.get("UV_DEFAULT_INDEX"))
    if not found or here in found:
        return
    index = min(found)
    if not here and not is_mirror(index, text):
        return
    here = f"UV_DEFAULT_INDEX in .env is {here}" if here else "UV_DEFAULT_INDEX in .env names none"
    known = {"index": index, "here": here, "setting": f"UV_DEFAULT_INDEX={index}"}
    yield Finding("lock-of-another-index", ERROR, f"registry in dependencies/{LOCK}", known)


def plain(url: str) -> str:
    """An address without a password, to compare it."""
    return str(rule().without_secret(url)).rstrip("/")


def is_mirror(index: str, text: str) -> bool:
    """Whether an index is not uv's own default, whose files are on another host."""
    hosts = {urlsplit(url).hostname for url in FILE.findall(text)}
    return urlsplit(index).hostname in hosts


CHECKS: tuple[Check, ...] = (index_of_lock,)
