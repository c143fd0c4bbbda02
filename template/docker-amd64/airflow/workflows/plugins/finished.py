"""Changes the asset of workflows.events.dag_finished when a run ends, in the same transaction.

A trigger cannot do this: it can ask for the state of a run, but not which runs there are.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from workflows.events import finished

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun) -> None:
    """Tell DAGs that wait for it."""
    tell(dag_run, "success")


@hookimpl
def on_dag_run_failed(dag_run: DagRun) -> None:
    """Tell DAGs that wait for it."""
    tell(dag_run, "failed")


def tell(dag_run: DagRun, state: str) -> None:
    """Register an event if a DAG waits for it. The scheduler or the api-server calls this."""
    from airflow.assets.manager import AssetManager  # noqa: PLC0415  workers load plugins too
    from airflow.models.asset import AssetModel  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415
    from sqlalchemy.orm import object_session  # noqa: PLC0415

    session = object_session(dag_run)
    if session is None:
        log.error("%s of %s: no session of the database", dag_run.run_id, dag_run.dag_id)
        return
    uri = finished(dag_run.dag_id, state)
    ended = dag_run.end_date.timestamp() if dag_run.end_date else None
    payload = {"dag": dag_run.dag_id, "run": dag_run.run_id, "state": state, "ended": ended}
    for asset in session.scalars(select(AssetModel).where(AssetModel.uri == uri)).all():
        AssetManager.register_asset_change(
            asset=asset, extra={"from_trigger": True, "payload": payload}, session=session
        )


class FinishedPlugin(AirflowPlugin):
    """What Airflow finds in this file."""

    name = "finished"
    listeners = [sys.modules[__name__]]  # noqa: RUF012  Airflow's own class declares it so
