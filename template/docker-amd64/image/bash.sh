# shellcheck shell=bash
# For interactive bash in dev. /etc/bash.bashrc reads it before your ~/.bashrc, which may set another prompt.
# shellcheck source=/dev/null
. /opt/container/prompt.sh
# Keep the history of a killed container. In any prompt, show the project and what is here, not the id of the container.
PROMPT_COMMAND='history -a; prompt_facts; PS1=${PS1//\\h/${PROMPT_NAME:-$HOSTNAME}\$PROMPT_FACTS}'
