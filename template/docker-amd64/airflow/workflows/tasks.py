"""Tasks that run in the environment of their worker: the project's packages, or a workspace's.

    from workflows.tasks import task

    @task(retries=2)
    def count(path: str) -> int:
        import numpy

        return len(numpy.loadtxt(path))

The arguments are those of Airflow's own decorator: retries, retry_delay, execution_timeout, pool,
trigger_rule and so on; also expand, partial and override work. Airflow reads the file of a DAG
without these packages, so a function imports what it needs by itself, and uses nothing else of its
file. It can import the code in /workspace, and workflows.results. A parameter `params`, `run_id` or
`ds`, with the default None, gets the value of the run.
"""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.decorators.external_python import _PythonExternalDecoratedOperator
from airflow.sdk.bases.decorator import task_decorator_factory
from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PYTHON = "/opt/venv/bin/python"
# So that a task can import workflows.results.
IMPORTS = f"import runpy; runpy.run_path({str(Path(__file__).with_name('importable.py'))!r})"


def plain(value: Any) -> Any:
    """A value that another Python can read: the results of mapped tasks as a list."""
    if isinstance(value, (LazyXComSequence, list)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


class EnvironmentOperator(_PythonExternalDecoratedOperator):
    """Runs a function in a process of the worker's environment, which has no Airflow."""

    custom_operator_name = "@task"

    def get_python_source(self) -> str:
        """The function without its decorators, whatever name they have in the file."""
        source = textwrap.dedent(inspect.getsource(self.python_callable))
        first = ast.parse(source).body[0].lineno - 1
        return "\n".join([IMPORTS, *source.splitlines()[first:], ""])

    def _iter_serializable_context_keys(self) -> Iterator[str]:
        """What a run knows in plain values: the environment need not have Airflow's types."""
        yield from (*self.BASE_SERIALIZABLE_CONTEXT_KEYS, "params")

    def execute_callable(self) -> Any:
        """Run it with the variables of the container, without Airflow's own and its secrets."""
        self.op_args, self.op_kwargs = plain([*self.op_args]), plain({**self.op_kwargs})
        given = self.env_vars or {}
        kept = {key: text for key, text in os.environ.items() if not key.startswith("AIRFLOW__")}
        self.env_vars, self.inherit_env = {**kept, **given}, False
        # The folders of DAGs have names of workspaces, which would hide packages of that name.
        self._bundle_path = None
        return super().execute_callable()


def task(
    python_callable: Callable[..., Any] | None = None,
    *,
    multiple_outputs: bool | None = None,
    **arguments: Any,
) -> Any:
    """A decorator, with or without arguments, that makes a task of a function."""
    return task_decorator_factory(
        python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=EnvironmentOperator,
        python=arguments.pop("python", PYTHON),
        expect_airflow=False,
        **arguments,
    )
