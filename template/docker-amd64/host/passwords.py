"""Passwords and tokens in addresses, which git and images would keep: found before anything runs.

What one looks like is known to image/intake/text.py, by which the images' own programs know it too.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Iterator

from .ask import read_json, read_text
from .failures import failed
from .project import me

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .project import Project

RULE = Path(__file__).resolve().parents[1] / "image" / "intake" / "text.py"
# What the Dockerfile records in an image.
RECORDED = (
    *("APT_MIRROR", "UV_DEFAULT_INDEX", "UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS_JSON_URL"),
    *("MAMBA_CHANNEL_ALIAS", "GIT_MIRROR", "PYTORCH_REPO", "TORCHVISION_REPO", "MAGMA_URL"),
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY")  # what the provenance of a published image may name
INSTEAD = {
    "APT_MIRROR": "a mirror that wants none",
    "MAMBA_CHANNEL_ALIAS": "the files of NETRC_FILE and CONDA_AUTH_FILE",
    **dict.fromkeys(PROXIES, "one that wants none"),
}
# The files of dependencies/ that have addresses; git and images have them all.
FILES = ("*.toml", "*.yml", "*.yaml", "*.txt", "*.lock", "imported.json", "project/pyproject.toml")
ADDRESS = re.compile(r"[\w+]+://[^\s\"'<>]+")


@lru_cache(maxsize=None)
def rule() -> Any:
    """The module that has `without_secret` and `has_secret`."""
    return SimpleNamespace(**runpy.run_path(str(RULE)))


def refuse_passwords(project: Project) -> None:
    """Raises StopError where .env or a dependency file has a password that images would keep."""
    for key in RECORDED:
        refuse_in_key(project, key)
    refuse_in_lists(project, project.folder / "dependencies", FILES)


def refuse_proxies(project: Project) -> None:
    """Raises StopError where a build is handed a proxy with a password: provenance names it.

    Docker's own settings hand builds a proxy too:
    https://docs.docker.com/engine/cli/proxy/#configure-the-docker-client
    """
    for key in PROXIES:
        refuse_in_key(project, key)
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if rule().has_secret(proxies_of_docker(read_text(folder / "config.json")), tokens=False):
        cause = f"A proxy in {folder / 'config.json'} has a password, which the image would keep."
        remedy = f'"${{EDITOR:-vi}}" {folder / "config.json"}'
        raise failed("password-in-image", project, cause=cause, remedy=remedy)


def proxies_of_docker(text: str) -> str:
    """The addresses of proxies in Docker's config.json, a line each."""
    proxies = read_json(text).get("proxies")
    hosts = proxies.values() if isinstance(proxies, dict) else ()
    return "\n".join(
        str(value)
        for host in hosts
        if isinstance(host, dict)
        for key, value in host.items()
        if key in ("httpProxy", "httpsProxy", "ftpProxy", "allProxy")
    )


def refuse_in_key(project: Project, key: str) -> None:
    """Raises StopError where the value of a key has a password."""
    value = project.settings.get(key)
    if rule().has_secret(value, tokens=key == "MAMBA_CHANNEL_ALIAS"):
        instead = INSTEAD.get(key, "the file of NETRC_FILE")
        setting = f"{key}={rule().without_secret(value)}"
        known = {"key": key, "setting": setting, "instead": instead}
        if key in project.settings.environ:  # which has precedence over .env
            known["cause"] = (
                f"{key} in the shell has a password, which the image would keep: use {instead}."
            )
            known["remedy"] = f"export {shlex.quote(setting)}"
        raise failed("password-in-image", project, **known)


def refuse_in_lists(project: Project, folder: Path, patterns: Iterable[str]) -> None:
    """Raises StopError where a file of a folder has an address with a password or token."""
    for file in files_of(folder, patterns):
        conda = file.stem.startswith(("environment", "conda"))
        text = read_text(file)
        if not rule().has_secret(text, tokens=conda):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if rule().has_secret(line, tokens=conda):
                where = f"Line {number} of {file.relative_to(folder.parent)}"
                raise refusal(project, where, line, tokens=conda)


def files_of(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """The files of a folder that may have addresses."""
    for pattern in patterns:
        yield from sorted(one for one in folder.glob(pattern) if one.is_file())


def refuse_in_words(project: Project, words: Iterable[str]) -> None:
    """Raises StopError where a package that is to be added has a password in its address."""
    for word in words:
        if rule().has_secret(word):
            raise refusal(project, "The command", word, tokens=True)


def refusal(project: Project, where: str, line: str, *, tokens: bool) -> Exception:
    """The failure, with the address as it may be shown, and the file for what it is."""
    words = ADDRESS.findall(line)
    address = next((one for one in words if rule().has_secret(one, tokens=tokens)), "")
    bare = rule().without_secret(address) or "an address"
    known = {"file": where, "address": bare}
    if re.search(rule().OF_CONDA, address) and project.package_manager == "conda":
        known["cause"] = (
            f"{where} has a token in {bare}, which git and the images would keep. Write the "
            "address without it: the file that CONDA_AUTH_FILE in .env names has tokens."
        )
        known["remedy"] = f"{me()} env --set CONDA_AUTH_FILE=~/.mamba/auth/authentication.json"
    return failed("password-in-file", project, **known)
