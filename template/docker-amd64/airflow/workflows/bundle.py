"""The bundle of all DAGs: airflow.cfg names its class."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.utils.file import list_py_file_paths

from .events import WATCHED
from .stubs import Places, refresh

# What nearly every DAG needs. The processes that parse are forks of the one that calls refresh():
# loaded there, it costs nothing in them. Without, a DAG costs twice the time.
NEEDED = (
    "airflow.models.dagwarning",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.external_task",
    "airflow.sdk.definitions.decorators",
    "workflows.files",
    "workflows.tasks",
)

log = logging.getLogger(__name__)


class Folders(BaseDagBundle):
    """DAGs of the project, of its workspaces, and of dropped files."""

    def __init__(self, *, places: dict[str, str] | None = None, **kwargs: Any) -> None:
        """Take the folders from `places`, whose keys are those of stubs.Places."""
        super().__init__(**kwargs)
        self.places = Places(**{name: Path(path) for name, path in (places or {}).items()})

    @property
    def path(self) -> Path:
        """The folder that Airflow searches."""
        return self.places.bundle

    def initialize(self) -> None:
        """Have the folder. Each task calls it: the volume has what the DAG processor made there."""
        if not self.path.is_dir():
            refresh(self.places, list_py_file_paths)
        super().initialize()

    def get_current_version(self) -> None:
        """Without versions: runs use the files as they are."""

    def refresh(self) -> None:
        """Bring the folder up to date. The DAG processor calls it every few seconds."""
        for module in NEEDED:
            with suppress(ImportError):
                import_module(module)
        refresh(self.places, list_py_file_paths)
        # Only the DAG processor itself has the database; the processes that parse have not.
        if os.environ.get("_AIRFLOW_PROCESS_CONTEXT") == "server":
            try:
                parse_unwatched(self.name)
            except Exception:
                log.exception("DAGs that were unpaused wait for min_file_process_interval")


def parse_unwatched(bundle: str) -> None:
    """Ask for the DAGs whose watchers do not run, which were unpaused since they were parsed.

    Airflow starts the watchers of an asset when it parses a DAG that is not paused.
    """
    from airflow.models.asset import AssetModel, DagScheduleAssetReference  # noqa: PLC0415
    from airflow.models.dag import DagModel  # noqa: PLC0415
    from airflow.models.dagbag import DagPriorityParsingRequest  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    with create_session() as session:
        files = session.scalars(
            select(DagModel.relative_fileloc)
            .join(DagScheduleAssetReference, DagScheduleAssetReference.dag_id == DagModel.dag_id)
            .join(AssetModel, AssetModel.id == DagScheduleAssetReference.asset_id)
            .where(AssetModel.uri.startswith(WATCHED), ~AssetModel.watchers.any())
            .where(~DagModel.is_paused, ~DagModel.is_stale)
            .where(DagModel.has_import_errors.is_not(True))
            .where(DagModel.bundle_name == bundle)
            .distinct()
        )
        for file in files.all():
            session.add(DagPriorityParsingRequest(bundle_name=bundle, relative_fileloc=file))
