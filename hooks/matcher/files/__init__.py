"""Existing projects: what their dependency files ask for, and whether it works on a host.

    from hooks.matcher.files.parse import parse
    from hooks.matcher.files.resolve import resolve

    project = parse("requirements.txt", "torch>=2.1", open_file)
    resolve(project, machine)     # Resolved: which PyTorch and CUDA, and the line that decides

Text in, values out: `open_file` is asked for the files that a file includes. As a command:
`hearth match --requirements FILE`. Its readers are imported where a file is given, so that other
answers do not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hosts import BadInputError

if TYPE_CHECKING:
    import argparse


def options(parser: argparse.ArgumentParser) -> None:
    """Add the option of this check to a command line."""
    parser.add_argument(
        "--requirements",
        metavar="FILE",
        help="judge an existing project: its requirements.txt, environment.yml, pyproject.toml,"
        " uv.lock, poetry.lock or Dockerfile",
    )


def run(options: argparse.Namespace) -> int | None:
    """Judge the file that the options name, and print what is found.

    Returns:
        The exit status; None where the options name no file.

    Raises:
        BadInputError: the file or the host is not understood, or a choice is given beside it.
    """
    if not options.requirements:
        return None
    for name in ("torch", "cuda", "wheel_cuda", "python", "image", "ngc", "service", "cpu"):
        if getattr(options, name):
            word = name.replace("_", "-")
            raise BadInputError(
                f"--requirements judges what the file names: leave out --{word}, or the file"
            )
    from .report import report  # noqa: PLC0415  (see above)

    return report(options)
