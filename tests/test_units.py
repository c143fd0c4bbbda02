"""Which tests one process runs, one after the other."""

from __future__ import annotations

from tests.conftest import unit_of


def test_files_that_share_an_engine_or_what_they_started_are_one_unit() -> None:
    assert unit_of("tests/engine/airflow/test_files.py::test_x") == "engine/airflow"
    assert unit_of("tests/engine/airflow/test_verbs.py::test_y[1]") == "engine/airflow"
    # Tests of CI empty the second engine's cache of layers.
    assert unit_of("tests/engine/test_gpus.py::a") == unit_of("tests/engine/test_ci.py::b")


def test_a_file_that_needs_no_engine_does_not_wait_for_images_with_its_namesake() -> None:
    assert unit_of("tests/test_ci.py::test_x") == "test_ci"
    assert unit_of("tests/engine/test_ci.py::test_x") == "engine/test_ci"
    assert unit_of("tests/test_gpus.py::test_x") == "test_gpus"
