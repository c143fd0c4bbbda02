#!/bin/bash
# Adds the user of .env: add-user.sh USRID GRPID USR GRP [ID of one more group [login shell]].
# It writes /etc/passwd itself, because useradd refuses ids that exist (Ubuntu 24.04 has a user 1000) and names with dots,
# capitals or a domain, and writes gigabytes for ids of ten digits: https://github.com/moby/moby/issues/5419
# Lines of the base image are kept. The new line is the first, so it is found for its id.
set -euo pipefail
uid=$1 gid=$2 user=$3 group=$4 extra=${5:-} shell=${6:-/bin/bash}
home=/home/user

for id in "$uid" "$gid"; do
    [[ $id =~ ^[0-9]{1,10}$ ]] || {
        echo "USRID and GRPID in .env must be numbers, not \"$id\"." >&2
        exit 1
    }
done
for name in "$user" "$group"; do
    if [[ -z $name || $name == *[:/,[:cntrl:]]* ]]; then
        echo "USR and GRP in .env must be names without colon, comma or slash, not \"$name\"." >&2
        exit 1
    fi
done

has() { cut -d: -f"$2" "/etc/$1" | grep -Fxq -- "$3"; } # FILE FIELD VALUE
id_of() { NAME=$2 awk -F: '$1 == ENVIRON["NAME"] {print $3; exit}' "/etc/$1"; }

# If the base image has the name with another id, append an underscore.
while has group 1 "$group" && [[ $(id_of group "$group") != "$gid" ]]; do group+=_; done
while has passwd 1 "$user" && [[ $(id_of passwd "$user") != "$uid" ]]; do user+=_; done

prepend() { # FILE LINE; writes in place, to keep the file's owner and mode
    local rest
    rest=$(cat "/etc/$1")
    printf '%s\n%s\n' "$2" "$rest" >"/etc/$1"
}

if ! has group 3 "$gid"; then prepend group "$group:x:$gid:"; fi
# Nobody could log in with a shell that is not there, such as one taken out of apt-dev.txt.
[[ -x $shell ]] || shell=/bin/bash
prepend passwd "$user:*:$uid:$gid:$user:$home:$shell"
if [[ -n $extra ]]; then
    prepend group "venv:x:$extra:$user"
    # An sshd that the user installs would replace the PATH of the image.
    mkdir -p /etc/ssh/sshd_config.d
    echo "SetEnv PATH=$PATH" >/etc/ssh/sshd_config.d/project.conf
fi

[[ -d $home ]] || cp -r /etc/skel "$home"
chown -R "$uid:$gid" "$home"
chmod 0755 "$home"
