"""What a busy machine must not decide: whether a test with made-up examples passes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.test_carry import FEW


@pytest.mark.parametrize("used", [settings(), settings(max_examples=5), FEW])
def test_no_example_fails_because_it_takes_long(used: settings) -> None:
    assert used.deadline is None
    assert HealthCheck.too_slow in used.suppress_health_check
