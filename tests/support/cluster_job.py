"""Jobs for the schedulers of clusters, as `submit` makes them, without a project around them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from host.clusters.job import Code, Image, Job, Request
from host.clusters.site import KEYS, Site
from host.project import Project
from tests.support.program import PROJECT

DIGEST = f"sha256:{'ab' * 32}"
ANSWERS = f"sha256:{'cd' * 32}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
USER = {"name": "mara", "id": 4711, "group": 815, "login": ""}


def site_of(cluster: str, **tables: dict[str, Any]) -> Site:
    """What a site decides: the defaults, and some values by table; user is that of .env."""
    own = import_module(f"host.clusters.{cluster}").KEYS
    known = {
        name: {key: one.default for key, one in keys.items()}
        for name, keys in {**KEYS, cluster: own}.items()
    }
    user = {**USER, **tables.pop("user", {})}
    for name, values in tables.items():
        assert name == "environment" or not values.keys() - known[name].keys()
        known[name].update(values)
    return Site(Path("site.toml"), {**known, "user": user})


def job_of(
    folder: Path, site: Site, request: Request, *, code: Code | None = None, **of_project: Any
) -> Job:
    """A job whose folder is made."""
    project = Project(folder, {**PROJECT, "clusters": [request.cluster], **of_project})
    place = folder / "deploy" / request.cluster / "jobs" / request.name
    place.mkdir(parents=True, exist_ok=True)
    image = Image("registry.example:5000/team/demo:latest", DIGEST, ANSWERS)
    return Job(project, site, request, image, code or Code(Path("/mnt/code/demo"), COMMIT), place)


def write(job: Job, files: dict[str, str]) -> list[Path]:
    """Write the files of a job into its folder."""
    for name, text in files.items():
        (job.folder / name).write_text(text, encoding="utf-8")
    return [job.folder / name for name in files]
