"""What the doctor finds of ssh: whether anybody may log in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

from .ask import read_text
from .doctor_env import needs_env
from .findings import WARNING, Finding

if TYPE_CHECKING:
    from .findings import Check, Subject


@needs_env
def keys_for_ssh(subject: Subject) -> Iterator[Finding]:
    """Whether SSH_KEYS names a file with a public key; without one, `ssh` and editors end."""
    settings = subject.project.settings
    file = settings.path("SSH_KEYS")
    if "ssh" in subject.project.extras and (not file or not read_text(file).strip()):
        named = settings.get("SSH_KEYS") or "nothing"
        yield Finding("ssh-no-keys", WARNING, f"SSH_KEYS in .env names {named}")


CHECKS: tuple[Check, ...] = (keys_for_ssh,)
