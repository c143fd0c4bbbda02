"""The entrypoint of containers, as a project gets it."""

from __future__ import annotations

from pathlib import Path

import jinja2
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "template/docker-amd64/entrypoint.sh.jinja"


def entrypoint(*clusters: str, torch: bool = True, conda: bool = False) -> str:
    """The text of entrypoint.sh in a project with these clusters."""
    options = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))["_envops"]
    options["undefined"] = getattr(jinja2, options["undefined"].partition(".")[2])
    environment = jinja2.Environment(**options)  # noqa: S701  (no HTML)
    return environment.from_string(FILE.read_text(encoding="utf-8")).render(
        clusters=clusters, torch=torch, conda=conda
    )
