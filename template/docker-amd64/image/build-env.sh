# Read by every bash of the build stages (BASH_ENV).
# shellcheck shell=bash

# /opt/venv stays writable for its group, which nobody but the user of the dev image is in.
umask 0002

# A proxy's certificates and the passwords of package indexes come as build secrets and stay in no layer.
if [[ -s /run/secrets/ca ]]; then export SSL_CERT_FILE=/run/secrets/ca; fi
if [[ -s /run/secrets/netrc ]]; then export NETRC=/run/secrets/netrc; fi
