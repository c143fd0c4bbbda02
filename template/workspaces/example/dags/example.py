"""The example of workflows: open it in the browser and press Trigger.

Airflow reads this file without numpy, so the work is in energy.py, which the tasks import.
"""

from __future__ import annotations

from airflow.sdk import dag
from workflows.tasks import task


@task(retries=2)
def clean() -> list[str]:
    """Remove gaps, spikes and doubles."""
    import energy

    return energy.clean()


@task
def transform(building: str) -> str:
    """Make the features of one building; all buildings at the same time."""
    import energy

    return energy.transform(building)


@task
def train(parts: list[str], params: dict | None = None) -> str:
    """Train a tiny model."""
    import energy

    return energy.train(parts, epochs=params["epochs"], seed=params["seed"])


@task
def evaluate(path: str, parts: list[str]) -> dict[str, float]:
    """Predict what the model has not seen; fail if it is no better than the mean."""
    import energy

    scores = energy.evaluate(path, parts)
    print(scores)
    if scores["error"] > scores["spread"]:
        raise ValueError("The model is no better than the mean. Try more epochs.")
    return scores


@task
def plot() -> str:
    """Draw data/generated/example/predictions.svg."""
    import energy

    return energy.plot()


@task
def share() -> str:
    """Copy what others may have to data/uploadable/example, with a manifest."""
    import energy
    from workflows.results import publish

    return publish("example", energy.results())


@dag(schedule=None, max_active_runs=1, params={"epochs": 300, "seed": 0}, doc_md=__doc__)
def example():
    """From measurements to a model that others can use."""
    parts = transform.expand(building=clean())
    evaluate(train(parts), parts) >> plot() >> share()


example()
