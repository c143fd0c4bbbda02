"""TensorBoard in the dev container: tensorboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .apps import start_app

if TYPE_CHECKING:
    import argparse

    from .project import Project


def do_tensorboard(project: Project, _: argparse.Namespace) -> None:
    """Start it, as `apps start tensorboard` does."""
    start_app(project, "tensorboard")
