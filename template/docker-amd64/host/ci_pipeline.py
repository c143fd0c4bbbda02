"""GitLab's pipeline in a project: its file, and how it names an image by digest.

Builds pin what it names, and updates (`hooks/update` of the template) take old pins out of it.
"""

from __future__ import annotations

PIPELINE = "image.gitlab-ci.yml"  # in docker-amd64
DIGEST = "sha256:[0-9a-f]{64}"
