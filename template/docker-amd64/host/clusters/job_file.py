"""What the files of several schedulers share: names in the image, variables, and what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from .job import Job

ENTRYPOINT = "/opt/container/entrypoint.sh"
MASTER_PORT = 29500  # PyTorch's default; pods and clouds have a network for each job
NOTEBOOK_PORT = 8888
GRACE = 120  # seconds from SIGTERM to SIGKILL, where timeout ends a command
# In the container only, so that no other pod, log or process list has the token.
TOKEN_FILE = "/tmp/jupyter-token"  # noqa: S105,S108  /tmp is the container's own
NEW_TOKEN = f"""\
(umask 077; head -c 24 /dev/urandom | base64 | tr -dc A-Za-z0-9 >{TOKEN_FILE})
export JUPYTER_TOKEN_FILE={TOKEN_FILE}"""
DIGEST = re.compile("sha256:[0-9a-f]{64}")


def literal(text: str) -> str:
    """A text in which Kubernetes replaces nothing: it reads $(NAME) in words and variables.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables
    """
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def for_entrypoint(job: Job) -> dict[str, str]:
    """The variables of the image's entrypoint that mean the same with every scheduler."""
    is_for_gpus = job.request.gpus > 0 and job.project.accelerator == "cuda"
    found = {
        "PROJECT_VERSION": job.code.version,
        "VERIFY_FIRST": "1" * job.request.verify,
        # A job that waited for GPUs ends, rather than computing on the CPU until its time is up.
        "REQUIRE_GPU": "1" * is_for_gpus,
    }
    return {name: value for name, value in found.items() if value}


def variables(job: Job) -> dict[str, str]:
    """The variables that the site and the user give a job; the user's replace the site's."""
    return {**job.site["environment"], **job.request.environment}


def about(job: Job) -> list[str]:
    """What the code and the image of a job are, a sentence each.

    The answers are what a label of the image says, which anybody may have written.
    """
    changes = f" with uncommitted changes {job.code.dirty}" if job.code.dirty else ""
    code = (
        f"commit {job.code.commit}{changes}" if job.code.commit else f"{job.code.folder} as it is"
    )
    answers = job.image.answers
    lines = (
        [f"The image was built from the answers {answers}."] if DIGEST.fullmatch(answers) else []
    )
    return [*lines, f"Code: {code}."]


def about_time(scheduler: str) -> list[str]:
    """The reason of the call of timeout, as a comment."""
    return [
        f"# {scheduler} has no time limit: when the time is up, timeout sends SIGTERM, so that the",
        f"# program can write a checkpoint, and {GRACE} seconds later SIGKILL.",
    ]


def limited(words: Sequence[str], seconds: int) -> list[str]:
    """A command that timeout ends; as it is without a limit (0)."""
    return ["timeout", f"--kill-after={GRACE}", str(seconds), *words] if seconds else [*words]
