"""JupyterLab in the dev container: jupyter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .apps import start_app

if TYPE_CHECKING:
    import argparse

    from .project import Project


def do_jupyter(project: Project, _: argparse.Namespace) -> None:
    """Start it, as `apps start jupyter` does."""
    start_app(project, "jupyter")
