"""Makes a workflow of each file NAME.csv in data/downloaded, which runs once."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG
from workflows.tasks import task


@task
def describe(path: str) -> dict[str, list[float]]:
    """Write the least, mean and greatest number of each column to data/generated/example."""
    import energy

    return energy.describe(path)


def workflow(path: str) -> DAG:
    """The workflow of a file. Its id follows from the name of the file."""
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG("csv", schedule="@once", start_date=start) as dag:
        describe(path)
    return dag
