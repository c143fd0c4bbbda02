#!/bin/bash
# Installs the locked packages of the given groups into /opt/venv and puts what is new in a copy under /opt/delta,
# so that the image takes it as a layer of its own and the layers below stay as they are.
set -euo pipefail

rm -rf /opt/delta
mkdir -p /opt/delta/opt/venv
touch /tmp/before
sleep 0.01 # a file of the same clock tick as the mark would not count as newer
uv sync --frozen --inexact --no-default-groups "$@"
cd /
find opt/venv -cnewer /tmp/before ! -type d ! -name .lock -exec cp -al --parents -t /opt/delta {} +
