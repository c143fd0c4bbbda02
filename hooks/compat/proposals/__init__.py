"""Compares the compatibility tables with their sources, and proposes rows and changes.

Nothing is made up: a field that a source does not give is null, and where the table needs a value
that no source gives, the row is left for a person, with what is missing. Nothing is removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hooks.compat.proposals.comparison import Comparison, ForAPerson
from hooks.compat.proposals.cuda import compare_cuda
from hooks.compat.proposals.drivers import compare_drivers, compare_gpus
from hooks.compat.proposals.ngc_conda import compare_conda, compare_ngc
from hooks.compat.proposals.torch import compare_torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMPARISONS", "Comparison", "ForAPerson"]

# In this order: later ones see the rows that earlier ones propose.
COMPARISONS: dict[str, Callable[[Comparison], None]] = {
    "cuda": compare_cuda,
    "drivers": compare_drivers,
    "gpus": compare_gpus,
    "torch": compare_torch,
    "ngc": compare_ngc,
    "conda": compare_conda,
}
