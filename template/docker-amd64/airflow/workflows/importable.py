"""Run at the start of a task: lets it import workflows.results, whatever else is called so.

A package or module `workflows` of the user's stays what `import workflows` finds. Only where it has
a module `results` of its own is that one found instead of ours.
"""

from __future__ import annotations

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

OURS = Path(__file__).parent
NAMES = ("exchange", "results")  # all that needs no Airflow


def make_importable() -> None:
    """Make these modules importable. They are loaded when a task uses them."""
    found = find_spec(OURS.name)
    if not found:
        # At the end: nothing there hides a module of others.
        sys.path.append(str(OURS.parent))
        return
    folders = [Path(one) for one in found.submodule_search_locations or ()]
    if any((one / "results.py").exists() or (one / "results").is_dir() for one in folders):
        return
    for name in NAMES:
        spec = spec_from_file_location(f"{OURS.name}.{name}", OURS / f"{name}.py")
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
            module = sys.modules[spec.name] = module_from_spec(spec)
            spec.loader.exec_module(module)


make_importable()
