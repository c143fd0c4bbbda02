"""What a DAG can wait for, as `schedule=[...]`: a changed file, a changed variable, a finished DAG.

Each function returns an asset of Airflow. `schedule=(a | b)` waits for any, `[a, b]` for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from .seen import check_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from airflow.sdk import Asset

# Airflow leaves addresses whose scheme starts with x- as they are.
WATCHED, FINISHED = "x-hearth://watched/", "x-hearth://finished/"
STATES = ("success", "failed")


def file_changed(pattern: str) -> Asset:
    """A new file, or one with another size or time.

    Args:
        pattern: below data/downloaded, such as "*.csv", "faces/*.png", or "faces/**/*.png" for
            folders in it too; or absolute, such as "/project/settings.ini".

    Raises:
        ValueError: ** is elsewhere than in the last but one part.
    """
    from .triggers import FileChanged  # noqa: PLC0415  the module is of use without Airflow

    check_pattern(pattern)
    return watched(f"file {pattern}", f"file/{quote(pattern, safe='')}", FileChanged(pattern))


def variable_changed(name: str) -> Asset:
    """A variable of Airflow that has another value, is new, or was deleted."""
    from .triggers import VariableChanged  # noqa: PLC0415

    return watched(f"variable {name}", f"variable/{quote(name, safe='')}", VariableChanged(name))


def dag_finished(dag_id: str, state: str = "success") -> Asset:
    """A run of another DAG that ended.

    Args:
        dag_id: the other DAG.
        state: "success" or "failed".

    Raises:
        ValueError: there is no such state.
    """
    if state not in STATES:
        raise ValueError(f"dag_finished: the state {state!r} is none of {', '.join(STATES)}.")
    from airflow.sdk import Asset  # noqa: PLC0415

    return Asset(name=f"{state} of {dag_id}", uri=finished(dag_id, state), group="dag")


def finished(dag_id: str, state: str) -> str:
    """The address of the asset that plugins/finished.py changes."""
    return f"{FINISHED}{state}/{quote(dag_id, safe='')}"


def watched(name: str, address: str, trigger: Any) -> Asset:
    """An asset that a trigger changes."""
    from airflow.sdk import Asset, AssetWatcher  # noqa: PLC0415

    watchers = [AssetWatcher(name=name, trigger=trigger)]
    return Asset(name=name, uri=WATCHED + address, group=name.partition(" ")[0], watchers=watchers)


def payloads(triggering_asset_events: Mapping[Any, Sequence[Any]]) -> list[dict[str, Any]]:
    """What happened, oldest first: one run can be about several events.

    Args:
        triggering_asset_events: as a task gets it from Airflow by this name.
    """
    events = [one for each in triggering_asset_events.values() for one in each]
    events.sort(key=lambda one: str(one.timestamp))
    return [one.extra["payload"] for one in events if "payload" in one.extra]
