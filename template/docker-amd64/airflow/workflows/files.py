"""DAGs of dropped files: what the stub of such a file calls."""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

from .stubs import PROJECT, dag_id

if TYPE_CHECKING:
    from types import ModuleType

    from airflow.sdk import DAG


class LoaderError(Exception):
    """A loader made no DAG; its text is what the page of Airflow shows."""


def dag_of(path: str, loader: str, environment: str) -> DAG:
    """The DAG that a loader makes of a file, with an id that only this file has.

    Args:
        path: the dropped file.
        loader: LOADER.py, which has a function workflow(path).
        environment: "project" or the name of a workspace, whose loader it is.

    Raises:
        LoaderError: the loader raised, or returned something else.
    """
    from airflow.sdk import DAG  # noqa: PLC0415  the module is of use without Airflow

    shown, name = loader.removeprefix("/"), printable(os.path.basename(path))  # noqa: PTH119
    try:
        workflow = getattr(load(loader), "workflow", None)
    except Exception as error:
        raise LoaderError(f"{shown} cannot be imported: {in_words(error)}") from error
    if not callable(workflow):
        raise LoaderError(f"{shown} has no function workflow(path).")
    try:
        dag = workflow(path)
    except Exception as error:
        raise LoaderError(f"workflow() of {shown} raised for {name}: {in_words(error)}") from error
    if not isinstance(dag, DAG):
        raise LoaderError(
            f"workflow() of {shown} returned {type(dag).__name__} for {name}. It must return a DAG."
        )
    dag.dag_id = dag_id(environment, os.path.basename(path))  # noqa: PTH119
    dag.dag_display_name = name if environment == PROJECT else f"{name} ({environment})"
    dag.tags |= {environment, name.rpartition(".")[2]}
    return dag


def printable(name: str) -> str:
    """A file's name as a database stores it and a page shows it."""
    return "".join(one if one.isprintable() else "?" for one in name)


def in_words(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def load(loader: str) -> ModuleType:
    """The module in a file of any name."""
    own = f"workflows_loader_{sha256(os.fsencode(loader)).hexdigest()[:10]}"
    spec = spec_from_file_location(own, loader)
    if spec is None or spec.loader is None:
        raise ImportError(loader)
    module = sys.modules[own] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
