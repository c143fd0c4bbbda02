"""`template.sh eject`: leave the template; the project works on without it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .ask import capture
from .checkout import HOST_FILES, UpdateError
from .guard import remove_guard
from .plain import say
from .project import me
from .update import yes

if TYPE_CHECKING:
    import argparse

    from .project import Project

HELPERS = ("template.sh", "host", "ci.ini")
TEXT = """\
Without its answers, {answers}, this project is one that you wrote: no update can reach it any more.
Everything else stays and works as before; nothing in it needs Hearth or Copier.

You may delete these too, in {docker}/:
  {helpers}
      then it is plain Docker Compose, in that folder:
      docker compose build dev && docker compose up -d dev && docker compose exec dev bash
      The .env of this machine stays. Whoever clones the project makes their own:
      sed "s/='auto */='/" .env.example >.env, with their USRID and GRPID in it, and the folders
      that it names{gpus}
  all of it
      first {me} clean --all, which removes its containers, images and caches.
"""
GPUS = """.
      Their containers get GPUs from {overlay}, which is on this machine only:
      git add --force {overlay}"""
CI = """
The checks of each push call template.sh. If you delete it, delete these too:
  {files}
"""
EDITOR = """
Editors call template.sh by .devcontainer/. If you delete it, delete that, too.
"""
WORKFLOWS = (
    ".github/workflows/image.yml",
    ".gitlab-ci.yml",
    "docker-amd64/image.gitlab-ci.yml",
    ".github/renovate.json",
    ".gitlab/renovate.json",
)


def eject_options(parser: argparse.ArgumentParser) -> None:
    """Whether to ask."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def do_eject(project: Project, options: argparse.Namespace) -> int:
    """Explain, ask, and remove the answers file; the exit status. Raises UpdateError."""
    root, docker = project.root, project.folder
    answers = root / project.answers_file
    if not answers.is_file():
        raise UpdateError(f"There is no {answers.name}: the project has left its template already.")
    helpers = [name for name in HELPERS if (docker / name).exists()]
    overlay = next((name for name in HOST_FILES[1:] if (docker / name).exists()), "")
    text = TEXT.format(
        answers=answers.name,
        docker=docker.name,
        helpers=" ".join(f"{name}/" if (docker / name).is_dir() else name for name in helpers),
        me=me(),
        gpus=GPUS.format(overlay=overlay) if overlay else ".",
    )
    workflows = [name for name in WORKFLOWS if (root / name).exists()]
    if "ci" in project.extras and workflows:
        text += CI.format(files=" ".join(workflows))
    if "devcontainer" in project.extras and (root / ".devcontainer").is_dir():
        text += EDITOR
    print(text)
    if not options.yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UpdateError(
            f"Nothing was changed: say that {answers.name} may go.", f"{me()} eject -y"
        )
    if not options.yes and not yes(f"Remove {answers.name}?", default=False):
        print("Nothing was changed.")
        return 1
    in_git = not capture("git", "cat-file", "-e", f"HEAD:./{answers.name}", cwd=root).returncode
    answers.unlink()
    if (docker / ".env").is_file():
        remove_guard(project)
    back = f" To have it back: git checkout HEAD -- {answers.name}" if in_git else ""
    say(f"Removed {answers.name}.{back}")
    return 0
