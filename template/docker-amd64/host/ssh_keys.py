"""The keys of this user on this machine, which let them into the dev container by ssh."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .ask import LOOK_LIMIT, capture, command, read_text
from .compose import show
from .engine_words import ask_engine

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = re.compile(r"(?m)^((?:sk-)?(?:ssh|ecdsa)-(?!\S*-cert-)\S+ AAAA[A-Za-z0-9+/=]+)(?=\s|$)")
# In the container, with the keys as arguments. What is there may lack the end of its last line.
APPEND = """\
umask 077
file=$HOME/.ssh/authorized_keys
if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >>"$file"; fi
printf '%s\\n' "$@" >>"$file"
"""


class Identities(NamedTuple):
    """What ssh of this user has to come in with.

    Attributes:
        files: public keys of files.
        agent: those of the agent.
        others: whether there may be more, which only ssh itself finds.
    """

    files: list[str]
    agent: list[str]
    others: bool

    @property
    def public(self) -> list[str]:
        """All public keys that are known."""
        return [*self.files, *self.agent]


def home_of_user() -> Path:
    """The home in which ssh looks for keys, whatever HOME says."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # ssh does not know such a user either
        return Path.home()


def identities(address: str) -> Identities:
    """What ssh of this user offers a server, by its own settings."""
    asked = capture("ssh", "-G", "--", address)
    if asked.returncode:
        return Identities([], [], others=True)
    lines = (line.partition(" ") for line in asked.stdout.splitlines())
    settings = [(key, value) for key, _, value in lines]
    files, others = [], False
    for key, value in settings:
        if key in ("identityagent", "pkcs11provider") and value != "none":
            others = True
        if key != "identityfile":
            continue
        path = re.sub("^~(?=/)", lambda _: str(home_of_user()), value)
        if os.access(path, os.R_OK):
            found = KEY.search(read_text(Path(f"{path}.pub")))
            files += [found[1]] if found else []
            others = others or not found
    # A forwarded agent whose computer is gone does not answer.
    return Identities(files, KEY.findall(command(("ssh-add", "-L"), LOOK_LIMIT).out), others)


def keys_in(text: str) -> set[str]:
    """The keys of lines as authorized_keys has them, without their types, options and comments."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {word for line in lines for word in line.split() if word.startswith("AAAA")}


def let_in(found: str, own: Identities, text: str) -> None:
    """Let this user into a container, unless one of their keys is in the text of those let in.

    Whoever has the engine can enter the container anyway. Its home volume keeps the key.
    """
    known: Iterable[str] = keys_in(text)
    if not own.public or any(key.split()[1] in known for key in own.public):
        return
    added = ask_engine("exec", found, "sh", "-c", APPEND, "sh", *(own.files or own.agent))
    if not added.returncode:
        show("Your key is let in from now on: ~/.ssh/authorized_keys in the container has it.")
