"""The hook: fill .env from this machine, check the answers against it, and print the next step.

Copier runs it once after a copy and once after an update, in the project's root folder, as

    python -B <template>/hooks/post_generate.py --ask|--no-ask --torch=... --cuda=...

It always exits 0: a hook that fails would make Copier delete a new project, or leave an updated one
half-done. An error is one sentence on stderr; `template.sh env` fills .env too.
It writes nothing into the template's folder.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

sys.dont_write_bytecode = True  # the template's folder may be a cache that Copier shares
ROOT = Path(__file__).resolve().parents[1]
# What a project gets, the hook uses too: the program host, and image/conda_file.py.
DOCKER = ROOT / "template" / "docker-amd64"
sys.path[:0] = [str(ROOT), str(DOCKER), str(DOCKER / "image")]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns 0 whatever happens."""
    ask = "--ask" in arguments and sys.stdin.isatty() and sys.stdout.isatty()
    try:
        # Even a broken import fails no copy.
        if not Path("docker-amd64/.env").exists() and "CONTAINER_ENGINE" not in os.environ:
            from host.ask import DOCKER_INFO, start_command  # noqa: PLC0415

            start_command(DOCKER_INFO)  # while Python compiles the rest
        from hooks.generate import after_render  # noqa: PLC0415
        from host.plain import plain  # noqa: PLC0415

        print(plain("\n".join(after_render.run(Path.cwd(), arguments, ask=ask))))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  nor does anything else
        reason = " ".join(str(error).split()) or type(error).__name__
        retry = "Try again with ./docker-amd64/template.sh env"
        print_error(f"The .env file was not filled: {reason.rstrip('.')}. {retry}")
    return 0


def print_error(text: str) -> None:
    """Print a failure, whose words may be those of others."""
    with suppress(Exception):  # what has failed may be an import
        from host.plain import plain  # noqa: PLC0415

        text = plain(text)
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
