#!/bin/bash
# The command of the dev container: a server for ssh. The user of the container runs it, without root and PAM, and only
# keys are let in. Its own key is in the home volume, so that clients know it again. With -i, it serves one connection by
# stdin and stdout, without a port.
set -euo pipefail

# The container stays, and can be entered by the other doors, if the server cannot start.
one_connection=$#
no_server() {
    printf '[sshd] no ssh: %s\n' "$*" >&2
    if ((one_connection)); then exit 1; fi
    exec sleep infinity
}

folder=$HOME/.ssh
host_key=$folder/host/ed25519
umask 077
if ! command -v ssh-keygen >/dev/null || [[ ! -x /usr/sbin/sshd ]]; then
    no_server "dependencies/apt-dev.txt has to list openssh-client and openssh-server. Then run: ./template.sh build dev"
fi
mkdir -p "$folder/host" || no_server "user $(id -u) cannot write to $folder"
[[ -f $host_key ]] || ssh-keygen -q -t ed25519 -N '' -C "${PROMPT_NAME:-container}" -f "$host_key" ||
    no_server "there is no host key $host_key"
# A copy, because sshd refuses a file that others may write, as the mounted one may be.
cat /run/ssh_keys >"$folder/authorized_keys.outside" || no_server "the file of SSH_KEYS in .env cannot be copied to $folder"

# What comes by ssh gets the environment that every other door has. sshd reads one SetEnv line, with " and \ escaped.
# Secrets are not in it: Python reads their files.
environment() {
    local pair
    while IFS= read -r -d '' pair; do
        case $pair in
            HOME=* | HOSTNAME=* | LOGNAME=* | OLDPWD=* | PWD=* | SHELL=* | SHLVL=* | TERM=* | USER=* | _=* | *$'\n'*) continue ;;
        esac
        if [[ -e /run/secrets/${pair%%=*} ]]; then continue; fi
        pair=${pair//\\/\\\\}
        printf ' "%s"' "${pair//\"/\\\"}"
    done < <(env -0)
}

cat >"$folder/sshd_config" <<EOF || no_server "user $(id -u) cannot write $folder/sshd_config"
Port 2222
HostKey "$host_key"
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys.outside
Subsystem sftp internal-sftp
SetEnv$(environment)
EOF
umask 022
# In a rootless engine the user is root, and for root sshd wants the folder that a service would make.
if [[ $(id -u) == 0 ]]; then mkdir -p /run/sshd; fi
/usr/sbin/sshd -t -f "$folder/sshd_config" || no_server 'its configuration is not valid, see above'
exec /usr/sbin/sshd "${1:--D}" -e -f "$folder/sshd_config"
