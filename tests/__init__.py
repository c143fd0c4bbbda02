"""The tests, and programs that share their helpers, such as `python -m tests.smoke`."""

import sys
from pathlib import Path

# What projects get is imported from where it is; for pytest, pyproject.toml says the same.
_DOCKER = Path(__file__).parents[1] / "template" / "docker-amd64"
sys.path += [str(one) for one in (_DOCKER, _DOCKER / "image") if str(one) not in sys.path]
