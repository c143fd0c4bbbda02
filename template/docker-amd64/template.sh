#!/usr/bin/env bash
# One verb for each thing you do with this project's containers: ./template.sh help is the manual.
# It only calls `docker compose` in this folder; plain `docker compose up` reads the same files and does the same.
set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
me=./template.sh
case ${BASH_SOURCE[0]} in */*) me=${BASH_SOURCE[0]} ;; esac

# shellcheck source=/dev/null
. ./packages.sh # add, lock, and what they know of this project's package manager

usage() {
    cat <<MANUAL
Usage: $me VERB

This machine
  env [--show|--json|--refresh [KEY...]]  fill .env from this machine; --show only prints what was found
  over                                    create compose.override.yaml for your own mounts and ports
  gpus                                    the GPUs, their load, whose programs run there, which are this project's

The template
  update [VERSION] [--check] [-y]         take the news of the template into this project; --check only shows them
  update --from FOLDER                    the same without a network, from a clone of the template
  update --data KEY=VALUE...              change answers, at the version that the project has
  update --undo                           take the last update back
  eject                                   leave the template: what may go, and what stays

Images and packages
  build [runtime|dev]       build both images, or one
  wheels [FOLDER]           take out the wheels of a PyTorch that is compiled here; into wheels/
$(packages_usage)
  verify [runtime|dev] [--json]
                            check in the images what was asked for: PyTorch, CUDA, code for the GPUs
  bench [runtime|dev] [--seconds S] [--dtype TYPE]
                            measure PyTorch: a table for you, JSON for a file (bench > a.json)
  bench --compare A B       two such files side by side
  freeze [-y]               compare what is installed in dev with the files, and write it there
  pin                       take the base images as they are now; builds use them until the next pin
  publish NAME[:TAG]        build the image without a person in it, and push it to a registry
  pull NAME[:TAG]           take that image from there instead of building it: run and up use it

Work
  up                        start the dev container
  shell                     a shell in it
  exec CMD...               a command in it
  logs [-f]                 what its entrypoint and command print
  stop, start, down         pause it, go on, remove it (your home volume stays)
  run [-d] [-e K=V] CMD...  a command in a new container of the runtime image

Look and mend
  ls                        containers, images and volumes of this project
  config                    the effective Compose file
  root [CMD...]             a root shell in the dev container, for emergencies
  clean [--all]             remove containers and images; --all: the home volume (caches, history) too
MANUAL
}

say() { printf '%s\n' "$*" >&2; }

# fail SENTENCE [COMMAND]: what is wrong, and the one command that helps.
fail() {
    printf '\n%s\n' "$1" >&2
    if [ -n "${2:-}" ]; then printf '  Run: %s\n' "$2" >&2; fi
    exit 1
}

# --- .env ------------------------------------------------------------------------------------------------------

# value KEY: what Compose sees for it: the shell's value, else the one of .env.
value() {
    local key=$1 line found=''
    if [ -n "${!key+set}" ]; then
        printf '%s' "${!key}"
        return
    fi
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line#"${line%%[![:blank:]]*}"}
        case ${line#export } in "$key="*) found=${line#*=} ;; esac
    done <.env
    found=${found%$'\r'}
    case $found in
        \'*) found=${found#\'} found=${found%%\'*} ;;
        \"*) found=${found#\"} found=${found%%\"*} ;;
        *) found=${found%% #*} ;;
    esac
    printf '%s' "$found"
}

python_on_host() {
    local name
    for name in python3 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            printf '%s' "$name"
            return
        fi
    done
    case ${1:-} in
        update | eject) fail "No Python 3.8 or newer on this machine; $1 is written in it." ;;
    esac
    fail "No Python 3.8 or newer on this machine; the probe that fills .env is written in it." \
        "sed \"s/='auto */='/\" .env.example >.env, and set USRID=$(id -u) GRPID=$(id -g) there"
}

# host VERB...: the probe of this folder, host/; nothing is written beside it.
host() {
    local python
    python=$(python_on_host)
    PYTHONSAFEPATH='' "$python" -B -m host "$@"
}

cmd_env() {
    case ${1:-} in
        --show) host show ;;
        --json) host json ;;
        *) host fill "$@" ;;
    esac
}

cmd_gpus() { host gpus; }

# of_template VERB...: an update replaces this very file, which bash reads as it goes, so nothing may be left to read.
of_template() {
    local python
    python=$(python_on_host "$1")
    CALLED_FROM=$OLDPWD TEMPLATE_SH=$me PYTHONSAFEPATH='' exec "$python" -B -m host "$@"
}

need_env() {
    if [ ! -f .env ]; then
        say "There is no .env yet: filling it from this machine."
        cmd_env
    fi
}

# --- the engine ------------------------------------------------------------------------------------------------

# explain_gpus SENTENCE COMMAND: what the probe says of this machine's way to its GPUs, else these two.
explain_gpus() {
    local why='' fix=''
    { read -r why && read -r fix || true; } <<<"$(host why 2>/dev/null)"
    if [ -z "$why" ]; then fail "$1" "$2"; fi
    fail "The containers cannot get a GPU: $why." "${fix:-$me gpus}"
}

# explain_registry TEXT: what a registry answers to a push or pull of $image_name.
explain_registry() {
    local registry=docker.io
    case ${image_name%%/*} in *.* | *:* | localhost) registry=${image_name%%/*} ;; esac
    case $1 in
        *'no basic auth credentials'* | *unauthorized* | *'denied: '* | *'access denied'* | *'resource is denied'* | *'403 Forbidden'*)
            fail "The registry $registry refuses $image_name: it wants a login, or yours may not do that." "docker login $registry"
            ;;
        *'HTTP response to HTTPS client'*)
            fail "The registry $registry has no TLS, and Docker speaks without it to this machine only: go through a tunnel." \
                "ssh -L 5000:$registry HOST, and name the image 127.0.0.1:5000/..."
            ;;
        *'x509: '*)
            fail "The Docker daemon does not trust the certificate of $registry." \
                "sudo mkdir -p /etc/docker/certs.d/$registry, and put its ca.crt there"
            ;;
        *'dial tcp'* | *'no such host'* | *'TLS handshake timeout'* | *'deadline exceeded'* | *'Client.Timeout'*)
            fail "The registry $registry cannot be reached from the Docker daemon." "curl -I https://$registry/v2/"
            ;;
        *'manifest unknown'* | *"$image_name"*': not found'* | *'not known to registry'*)
            fail "The registry $registry has no image $image_name." "$me publish $image_name, where the project is built"
            ;;
    esac
}

# explain TEXT: the engine's words are on the screen already; the cause and the command come last.
explain() {
    if ! command -v docker >/dev/null 2>&1; then
        fail "Docker is not installed on this machine (https://docs.docker.com/engine/install says how on each system)." \
            "sudo apt-get install docker.io docker-compose-v2"
    fi
    if [ -n "${image_name:-}" ]; then explain_registry "$1"; fi
    case $1 in
        *'torch-build stopped: '*)
            local sentence=${1##*torch-build stopped: } advice=''
            case $1 in *'torch-build advises: '*) advice=${1##*torch-build advises: } ;; esac
            fail "${sentence%%$'\n'*}" "${advice%%$'\n'*}"
            ;;
        *'ermission denied'*docker*sock* | *'ermission denied'*'Docker daemon'* | *'ermission denied'*'docker API'*)
            fail "Your user may not talk to the Docker daemon." "sudo usermod -aG docker \"\$USER\" and log in again"
            ;;
        *'Cannot connect to the Docker daemon'* | *'failed to connect to the docker API'* | *'the docker daemon running'*)
            fail "The Docker daemon is not running." "sudo systemctl start docker (or start Docker Desktop)"
            ;;
        *"'compose' is not a docker command"* | *'unknown command: docker compose'* | *'unknown shorthand flag'* | \
            *'unknown flag'*'docker [OPTIONS] COMMAND'*)
            fail "Docker has no Compose plugin (the old docker-compose 1.x cannot read this project)." \
                "sudo apt-get install docker-compose-plugin"
            ;;
        *'could not select device driver'* | *'unknown or invalid runtime name: nvidia'* | *'Unknown runtime specified nvidia'*)
            explain_gpus "The engine does not know NVIDIA's runtime, or was not started again since it was installed." \
                "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
            ;;
        *'unsatisfied condition: cuda'*)
            fail "The NVIDIA driver is too old for the CUDA of this image: update it, or choose a CUDA line that it runs." \
                "$me update --data cuda_version=..."
            ;;
        *'unresolvable CDI devices'*)
            explain_gpus "GPU_IDS in .env names a GPU that no CDI file describes; $me gpus lists those that are there." \
                "$me env --refresh GPU_IDS"
            ;;
        *'error mounting'*libcuda* | *'error mounting'*libnvidia* | *'error gathering device information'*/dev/nvidia*)
            explain_gpus "The CDI file of the GPUs was made for another driver." \
                "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
            ;;
        *'port is already allocated'* | *'address already in use'*)
            fail "A port of compose.override.yaml is taken on this machine: choose another one there." \
                "docker ps --format '{{.Names}} {{.Ports}}'"
            ;;
        *'o space left on device'* | *'not enough free space'*)
            fail "The disk is full." "docker system df, then docker buildx prune"
            ;;
        *'bind source path does not exist'*)
            fail "A folder that .env or compose.override.yaml names does not exist." "$me config"
            ;;
        *'failed to resolve source metadata'*'x509: certificate'* | *'failed to do request'*'x509: certificate'*)
            fail "A proxy inspects TLS, and the Docker daemon does not trust its certificate: add it to this machine's own." \
                "sudo update-ca-certificates && sudo systemctl restart docker, with the file in /usr/local/share/ca-certificates"
            ;;
        *'ertificate verify failed'* | *CERTIFICATE_VERIFY_FAILED* | *'invalid peer certificate'* | \
            *'SSL peer certificate'* | *UnknownIssuer* | *'x509: certificate'*)
            fail "A proxy inspects TLS, and the build does not trust its certificate: name a file of certificates as CA_BUNDLE in .env." \
                "$me env --refresh CA_BUNDLE"
            ;;
        *toomanyrequests* | *'pull rate limit'*)
            fail "The registry has had too many requests from this address." "docker login"
            ;;
        *'failed to resolve source metadata'*'@sha256:'*'not found'*)
            fail "The registry has no longer what compose.pins.yaml names." "$me pin"
            ;;
        *'failed to resolve source metadata'* | *'pull access denied'* | *'manifest unknown'*)
            fail "A base image could not be had: no network, no login, or no such tag. The keys *_IMAGE of .env can name a mirror." \
                "$me config"
            ;;
        *'open /'*'.yaml: no such file or directory'* | *'stat /'*'.yaml: no such file or directory'*)
            fail "COMPOSE_FILE in .env names a file that is not here." "$me env --refresh COMPOSE_FILE"
            ;;
        *'dns error'* | *'Temporary failure resolving'* | *'Could not resolve'* | *'network is unreachable'*)
            fail "The build has no network, or a name could not be resolved. Proxies and mirrors are keys of .env." "$me config"
            ;;
        *'Unable to locate package'* | *'has no installation candidate'*)
            fail "A list in dependencies/ (apt-*.txt) names a package that this distribution does not have." \
                "$me build, when the name is corrected there"
            ;;
        *'but the base image has '* | *"hides the base image's "* | *"the base image's constraint file says "*)
            # base_packages.py has said it, between the engine's words.
            fail "$(printf '%s\n' "$1" | grep -E "but the base image has|(hides|the) base image's" |
                sed -E '$!d; s/^(#[0-9]+ )?([0-9.]+ )?//')"
            ;;
    esac
    explain_packages "$1"
}

# engine CMD...: runs it, shows all it says, and explains a failure.
engine() {
    local log status=0
    log=$(mktemp)
    { "$@" 2>&1 1>&3 | tee "$log" >&2; } 3>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        local text
        text=$(tail -n 60 "$log")
        rm -f "$log"
        explain "$text"
        exit "$status"
    fi
    rm -f "$log"
}

# explain_engine: after a failure whose words went elsewhere, asks the engine and Compose what is wrong.
explain_engine() {
    local text
    text=$(docker version 2>&1 >/dev/null && docker compose config --quiet 2>&1) || {
        say "$text"
        explain "$text"
        exit 1
    }
}

# explain_later: passes on what Compose says while this script is no longer there, and explains at the end why the
# engine gave no GPU.
explain_later() {
    local text
    trap '' INT TERM
    text=$({ tee >(tail -c 4000 >&3) >&2; } 3>&1)
    case $text in
        *'device driver'* | *'CDI device'* | *'runtime name'* | *'unsatisfied condition'* | *'error mounting'*)
            explain "$text"
            ;;
    esac
}

image() { printf '%s:%s' "$(value COMPOSE_PROJECT_NAME)" "$1"; }

service_image() { sed -n "s/^    image: .*:\(.*-$1\)\$/\1/p" compose.yaml; }

need_image() {
    local name
    name=$(image "$(service_image "$1")")
    docker image inspect "$name" >/dev/null 2>&1 && return
    explain_engine
    fail "The image $name is not built yet." "$me build $1"
}

container() { docker compose ps --quiet --status running "$1" 2>/dev/null; }

need_container() {
    [ -n "$(container dev)" ] && return
    need_image dev
    explain_engine
    fail "The dev container is not running." "$me up"
}

# attach_gpus: in a project for GPUs, brings the overlay of COMPOSE_FILE in line with GPU_IDS and CPU_OR_GPU in .env.
# Where the containers get no GPU, they start on the CPU after one line, or with REQUIRE_GPU=1 not at all.
# With --quiet that line is left to the container, which says it too: to ask the machine costs a quarter of a second.
attach_gpus() {
    local overlay='' mode given why='' fix=''
    grep -q '^GPU_IDS=' .env.example || return 0
    case $(value COMPOSE_FILE) in
        *compose.nvidia.yaml*compose.cdi.yaml* | *compose.cdi.yaml*compose.nvidia.yaml*)
            fail "COMPOSE_FILE in .env names compose.nvidia.yaml and compose.cdi.yaml: it may only be one of them." \
                "$me env --refresh COMPOSE_FILE"
            ;;
        *compose.nvidia.yaml*) overlay=compose.nvidia.yaml ;;
        *compose.cdi.yaml*) overlay=compose.cdi.yaml ;;
    esac
    mode=$(unset CPU_OR_GPU && value CPU_OR_GPU) # it is .env that says which overlay there is
    given="    GPUS_GIVEN: \"$(value GPU_IDS)\""
    if [ -n "$overlay" ] && [ "$mode" = gpu ] && grep -Fqx -- "$given" "$overlay" 2>/dev/null; then return 0; fi
    if [ -z "$overlay" ] && [ "$mode" != gpu ] && [ "${1:-}" = --quiet ] && [ "$(value REQUIRE_GPU)" != 1 ]; then return 0; fi
    { read -r why && read -r fix || true; } <<<"$(host attach)"
    if [ -z "$why" ]; then return 0; fi
    if [ "$(value REQUIRE_GPU)" = 1 ]; then fail "No GPU for the containers, and REQUIRE_GPU=1: $why." "${fix:-$me gpus}"; fi
    if [ -n "$overlay" ] || [ "${1:-}" = --quiet ]; then return 0; fi
    say "No GPU for the containers, they run on the CPU: $why.${fix:+ To change that: $fix}"
}

# Docker makes a missing folder of a bind mount as root; so it is made here first, as you. Asking Compose which folders
# there are takes a quarter of a second: without files of your own in COMPOSE_FILE its answer is kept in .env.folders
# until .env or compose.yaml change.
make_folders() {
    local key known=yes files file config target folder
    key="$PWD|$(value LOCAL_CODE_DIR)|$(value LOCAL_DATA_DIR)|$(value LOCAL_OUTPUTS_DIR)"
    IFS=: read -r -a files <<<"$(value COMPOSE_FILE)"
    for file in .env ${files[@]+"${files[@]}"}; do
        [ -e "$file" ] || explain_engine
        case $file in
            .env | compose.yaml | compose.ca.yaml | compose.pins.yaml | compose.nvidia.yaml | compose.cdi.yaml) ;;
            *) known=no ;;
        esac
        if [ "$file" -nt .env.folders ]; then known=no; fi
    done
    if [ $known = no ] || [ "$(head -n 1 .env.folders 2>/dev/null)" != "$key" ]; then
        config=$(docker compose --profile '*' config 2>/dev/null) || explain_engine
        {
            printf '%s\n' "$key"
            printf '%s\n' "$config" | awk '
                /^ *- type: / {bind = /bind$/}
                bind && /^ *source: / {sub(/^ *source: /, ""); source = $0}
                bind && /^ *target: / {print $2 "\t" source; bind = 0}'
        } >.env.folders
    fi
    tail -n +2 .env.folders | while IFS=$'\t' read -r target folder; do
        case $folder in
            \'*\') folder=${folder#\'} folder=${folder%\'} folder=${folder//\'\'/\'} ;;
            \"*\") folder=${folder#\"} folder=${folder%\"} ;;
        esac
        if [ -e "$folder" ]; then continue; fi
        if [ "$target" = /workspace ]; then
            fail "LOCAL_CODE_DIR in .env names $folder, which is no folder." "$me config"
        fi
        mkdir -p "$folder" && say "Made the folder $folder"
        # Called by root for somebody else (sudo): the folder is still that person's.
        if [ "$(id -u)" = 0 ]; then chown "$(value USRID):$(value GRPID)" "$folder"; fi
    done
}

# --- base images: by digest, and as long as they are maintained -------------------------------------------------

# A tag moves. compose.pins.yaml says which image it meant when somebody pinned it, and git hands that to everybody.

# with_digest NAME ELSE: NAME@sha256:... as its registry has it now. It is pulled, as the build would. Without a digest
# it says why not, and what that means.
with_digest() {
    local repository=$1 known digest log
    case ${1##*/} in *:*) repository=${1%:*} ;; esac
    repository=${repository#docker.io/} repository=${repository#library/}
    if known=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" 2>/dev/null); then
        known=$(printf '%s\n' "$known" | awk -F@ -v name="$repository" '$1 == name {print $2; exit}')
        if [ -z "$known" ]; then
            say "$1 was made on this machine and has no digest: $2."
            return 1
        fi
    elif ! docker version >/dev/null 2>&1; then
        return 1 # the build will say it
    fi
    log=$(mktemp)
    docker pull "$1" 2>&1 | tee "$log" >&2 || true
    digest=$(sed -n 's/^Digest: //p' "$log")
    rm -f "$log"
    # containerd's image store gives a digest to what was made on this machine, too.
    if docker info --format '{{.DriverStatus}}' 2>/dev/null | grep -q io.containerd.snapshotter; then known=''; fi
    if [ -z "$digest" ] && [ -z "$known" ]; then
        say "No registry tells the digest of $1: $2."
        return 1
    elif [ -z "$digest" ]; then
        say "The registry does not answer: $1 is pinned as it is on this machine."
    fi
    printf '%s@%s' "$1" "${digest:-$known}"
}

# write_pins LINES: compose.pins.yaml with these build arguments for all that compose.yaml builds; no file without any.
write_pins() {
    local text
    text=$(
        printf '%s\n' "# What the base images of the Dockerfile were when they were pinned. Builds use it until ./template.sh pin" \
            "# takes newer ones; keep it in git. An image that .env names goes before it." \
            "x-pins: &pins" "  build:" "    args:" "${1%$'\n'}" "" "services:"
        awk '/^[a-z]/ {services = /^services:/} /^  [a-z].*:$/ {name = $1}
            services && /^    build:/ {print "  " name " *pins"}' compose.yaml
    )
    if [ -z "$1" ]; then
        rm -f compose.pins.yaml
    elif [ "$text" != "$(cat compose.pins.yaml 2>/dev/null)" ]; then
        printf '%s\n' "$text" >compose.pins.yaml.tmp
        mv compose.pins.yaml.tmp compose.pins.yaml
    fi
}

# name_pins: COMPOSE_FILE in .env names the file exactly where it is there, so that plain Compose builds the same.
name_pins() {
    local files named=no there=no
    if [ -n "${COMPOSE_FILE+set}" ]; then return; fi
    files=:$(value COMPOSE_FILE):
    case $files in *:compose.pins.yaml:*) named=yes ;; esac
    if [ -f compose.pins.yaml ]; then there=yes; fi
    if [ $named = $there ]; then return; fi
    if ! python_on_host >/dev/null 2>&1; then
        say "Without Python 3.8 here, write it yourself: COMPOSE_FILE in .env names compose.pins.yaml exactly if it is there."
        return
    fi
    if [ $there = yes ]; then
        files=${files/:compose.yaml:/:compose.yaml:compose.pins.yaml:}
    else
        files=${files/:compose.pins.yaml:/:}
    fi
    files=${files#:}
    host set "COMPOSE_FILE=${files%:}"
}

# pin_bases [--refresh]: what the Dockerfile names and nobody pinned yet is pinned, before anything is built on it.
pin_bases() {
    local key name pin found otherwise lines=''
    if [ -n "${bases_are_pinned:-}" ]; then return; fi
    bases_are_pinned=yes
    while read -r key name <&3; do
        pin=$(sed -n "s/^ *$key: .*:-\(.*\)}\$/\1/p" compose.pins.yaml 2>/dev/null || true)
        case $pin in
            '' | "$name@"*) ;;
            *)
                say "The Dockerfile names $name now: the pin of ${pin%@*} is dropped."
                pin=''
                ;;
        esac
        if [ -n "$(value "$key")" ] && [ "${1:-}" = --refresh ]; then say "$key stands in .env: it is not pinned."; fi
        if { [ -z "$pin" ] || [ "${1:-}" = --refresh ]; } && [ -z "$(value "$key")" ]; then
            otherwise="it is not pinned"
            if [ -n "$pin" ]; then otherwise="its pin stays"; fi
            found=$(with_digest "$name" "$otherwise") || found=$pin
            if [ "$found" != "$pin" ]; then say "Pinned in compose.pins.yaml, which belongs in git: $found"; fi
            pin=$found
        fi
        if [ -n "$pin" ]; then lines="$lines      $key: \${$key:-$pin}"$'\n'; fi
    done 3< <(sed -n 's/^ARG \([A-Z0-9_]*_IMAGE\)=\([^@]*\)$/\1 \2/p' Dockerfile)
    write_pins "$lines"
    name_pins
}

cmd_pin() {
    [ $# -eq 0 ] || fail "pin takes no name: it pins every base image of the Dockerfile." "$me pin"
    explain_engine
    pin_bases --refresh
    if [ -f compose.pins.yaml ]; then sed -n 's/^ .*:-\(.*\)}$/\1/p' compose.pins.yaml; fi
}

# days YYYY-MM-DD: the number of that day, to subtract two of them; date does it differently on each system.
days() {
    local year=$((10#${1%%-*})) month=${1#*-} day=$((10#${1##*-})) late
    month=$((10#${month%-*}))
    late=$(((14 - month) / 12))
    year=$((year + 4800 - late)) month=$((month + 12 * late - 3))
    echo $((day + (153 * month + 2) / 5 + 365 * year + year / 4 - year / 100 + year / 400))
}

answers_file() { sed -n 's/^x-answers: "\(.*\)"$/\1/p' compose.yaml; }

# warn_of_end: from 90 days before the last security update of a distribution that is known, `build` ends with it.
warn_of_end() {
    local found name end left answer=linux_distro
    found=$(sed -n 's/^# \(.*\) gets security updates until \([0-9-]*\)\.$/\2 \1/p' Dockerfile)
    if [ -z "$found" ] || [ -n "$(value BASE_IMAGE)" ]; then return; fi
    end=${found%% *} name=${found#* }
    left=$(($(days "$end") - $(days "$(date +%Y-%m-%d)")))
    if [ $left -gt 90 ]; then return; fi
    if [ $left -ge 0 ]; then end="gets security updates only until $end"; else end="gets no security updates since $end"; fi
    if grep -q '^ARG BASE_IMAGE=nvcr.io/nvidia/pytorch:' Dockerfile; then answer=ngc_release; fi
    say "$name $end. Move on with: $me update --data $answer=..."
}

# --- verbs: images and packages --------------------------------------------------------------------------------

# tools CMD...: uv's world in a container, in dependencies/, as you.
tools() {
    engine docker compose --progress quiet run --rm --no-deps -T tools "$@"
}

# What a failing step says goes to stdout, that it failed to stderr: to explain it takes both.
build_images() { docker compose build "$@" >&2; }

# What is handed to a build as an argument can be read in the image.
refuse_passwords() {
    local key
    case $(value MAMBA_CHANNEL_ALIAS) in
        *://*@* | */t/*)
            fail "MAMBA_CHANNEL_ALIAS in .env holds a password, which the image would keep." \
                "$me config, when passwords are in the file of NETRC_FILE and tokens in that of CONDA_AUTH_FILE"
            ;;
    esac
    for key in UV_DEFAULT_INDEX UV_PYTHON_INSTALL_MIRROR UV_PYTHON_DOWNLOADS_JSON_URL GIT_MIRROR PYTORCH_REPO \
        TORCHVISION_REPO MAGMA_URL; do
        case $(value "$key") in
            *://git@*) ;; # by which everybody may read
            *://*@*)
                fail "$key in .env holds a password, which the image would keep: write it into the netrc file of NETRC_FILE."
                ;;
        esac
    done
    case $(value APT_MIRROR) in
        *://*@*) fail "APT_MIRROR in .env holds a password, which the image would keep: name a mirror that wants none." ;;
    esac
}

build_tools() {
    refuse_passwords
    pin_bases
    if [ -z "$(docker image inspect --format x "$(image "$(service_image tools)")" 2>/dev/null)" ]; then
        engine build_images tools
    else
        engine docker compose --progress quiet build tools
    fi
}

# before_build: what is true of every build, whatever is built.
before_build() {
    refuse_passwords
    pin_bases
    lock_if_stale
}

cmd_build() {
    local targets=("$@") target
    for target in ${targets[@]+"${targets[@]}"}; do
        case $target in runtime | dev) ;; *) fail "There is no image \"$target\"; there are runtime and dev." "$me build dev" ;; esac
    done
    if [ $# -eq 0 ]; then targets=(runtime dev); fi
    before_build
    engine build_images "${targets[@]}"
    warn_of_end
    case "${targets[*]}" in
        runtime) say "Built: runtime. Run: $me run CMD" ;;
        *) say "Built: ${targets[*]}. Run: $me up" ;;
    esac
}

# The wheels come out of an image that holds nothing else; a container of it is made and never started.
cmd_wheels() {
    local folder=${1:-$PWD/wheels} id status=0 wheel
    [ -n "$(service_image wheels)" ] ||
        fail "PyTorch comes as a published wheel here; nothing is compiled." "$me update --data pytorch_build=source"
    case $folder in
        -*) fail "wheels knows one folder, not $folder." "$me help" ;;
        /*) ;;
        *) folder=$OLDPWD/$folder ;;
    esac
    refuse_passwords
    pin_bases
    engine build_images wheels
    mkdir -p "$folder" || fail "The folder $folder cannot be made."
    id=$(docker create "$(image "$(service_image wheels)")" none)
    rm -rf "$folder/.new" && mkdir "$folder/.new"
    docker cp --quiet "$id:/." "$folder/.new" || status=$?
    docker rm "$id" >/dev/null
    for wheel in "$folder"/.new/*.whl; do
        if [ "$status" -eq 0 ]; then mv -f "$wheel" "$folder/" && printf '%s\n' "$folder/${wheel##*/}"; fi
    done
    rm -rf "$folder/.new"
    [ "$status" -eq 0 ] || fail "The wheels could not be written to $folder." "df -h $folder"
}

need_framework() {
    [ -f verify.py ] && return
    fail "This project chose no framework that could be $1." "$me update --data torch_version=..."
}

# in_image SERVICE SCRIPT [OPTION...]: a script of the image, in a container of its own that does not start the project.
in_image() {
    local target=$1 script=$2
    shift 2
    engine docker compose --progress quiet run --rm --no-deps -T --entrypoint python "$target" \
        "/opt/container/$script" "$@"
}

cmd_verify() {
    local targets=() json='' target name report status=0 separator='{'
    need_framework verified
    for target in "$@"; do
        case $target in
            --json) json=--json ;;
            runtime | dev) targets+=("$target") ;;
            *) fail "verify knows runtime, dev and --json, not \"$target\"." "$me help" ;;
        esac
    done
    if [ ${#targets[@]} -eq 0 ]; then
        for target in runtime dev; do
            name=$(image "$(service_image "$target")")
            if docker image inspect "$name" >/dev/null 2>&1; then targets+=("$target"); fi
        done
    fi
    for target in "${targets[@]:-dev}"; do
        need_image "$target"
        attach_gpus --quiet
        make_folders
        report=$(in_image "$target" verify.py ${json:+"$json"}) || status=1
        if [ -z "$report" ]; then explain_engine && exit 1; fi
        if [ -z "$json" ]; then
            printf '%s\n%s\n' "$target" "$report" | sed '2,$s/^/  /'
        else
            printf '%s"%s": %s' "$separator" "$target" "$report"
            separator=', '
        fi
    done
    if [ -n "$json" ]; then printf '}\n'; fi
    return $status
}

cmd_bench() {
    local target='' options=() report status=0 python folder=$PWD
    need_framework measured
    while [ $# -gt 0 ]; do
        case $1 in
            runtime | dev)
                [ -z "$target" ] || fail "bench measures one image at a time." "$me bench runtime >runtime.json"
                target=$1 && shift
                ;;
            --seconds | --dtype | --device)
                [ $# -ge 2 ] || fail "bench: $1 needs a value." "$me help"
                options+=("$1" "$2") && shift 2
                ;;
            --compare)
                [ $# -eq 3 ] || fail "bench --compare needs two files." "$me help"
                python=$(python_on_host)
                # The names are relative to the folder that this script has left.
                (cd -- "$OLDPWD" && exec "$python" "$folder/bench.py" --compare "$2" "$3")
                return
                ;;
            *) fail "bench knows runtime, dev, --seconds, --dtype, --device and --compare, not \"$1\"." "$me help" ;;
        esac
    done
    if [ -z "$target" ]; then
        target=runtime
        if ! docker image inspect "$(image "$(service_image runtime)")" >/dev/null 2>&1; then target=dev; fi
    fi
    need_image "$target"
    attach_gpus
    make_folders
    report=$(in_image "$target" bench.py --service "$(service_image "$target")" ${options[@]+"${options[@]}"}) || status=$?
    if [ -n "$report" ]; then printf '%s\n' "$report"; fi
    if [ $status -eq 137 ]; then fail "The measurement was killed: the container has too little memory." "$me config"; fi
    if [ -z "$report" ]; then explain_engine; fi
    return $status
}

# update_env_file in the container does the work; it asks where there is a terminal.
cmd_freeze() {
    local options=(-T) status=0
    need_container
    if [ -t 0 ] && [ -t 1 ]; then options=(); fi
    docker compose exec ${options[@]+"${options[@]}"} -e TEMPLATE_SH="$me" dev update_env_file "$@" || status=$?
    case $status in
        126 | 127) fail "The dev container has no update_env_file: its image is an older or a pulled one." "$me build dev" ;;
    esac
    return $status
}

# --- verbs: images for others ----------------------------------------------------------------------------------

# check_name VERB NAME...: an image in a registry, with or without a tag.
check_name() {
    local pattern='^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$'
    [ $# -eq 2 ] || fail "$1 needs one name, such as: $1 registry.example/team/$(title)." "$me help"
    [[ $2 =~ $pattern ]] ||
        fail "\"$2\" is no name of an image in a registry: it has small letters, and a registry or an account before the first slash." \
            "$me $1 registry.example/team/$(title)"
}

title() { sed -n '/image\.title="/{s/.*image\.title="\([^"]*\)".*/\1/p;q;}' Dockerfile; }

# label IMAGE NAME: what a label of an image says.
label() { docker image inspect --format "{{with .Config.Labels}}{{index . \"$2\"}}{{end}}" "$1"; }

# build_with SERVICE: a build with one more Compose file, from stdin.
build_with() {
    local files separator
    files=$(value COMPOSE_FILE) separator=$(value COMPOSE_PATH_SEPARATOR)
    COMPOSE_FILE="${files:-compose.yaml}${separator:-:}-" build_images "$1"
}

# say_label NAME VALUE: a line of YAML.
say_label() { printf "        %s: '%s'\n" "$1" "$(printf '%s' "$2" | sed "s/'/''/g; s/\\$/\$\$/g")"; }

# commit: the commit of the project, if all of it is committed.
commit() {
    local changes
    if ! changes=$(git status --porcelain 2>&1); then
        say "No label says which commit this is, for git knows none here: ${changes%%$'\n'*}"
    elif [ -n "$changes" ]; then
        say "No label says which commit this is, for there are changes that are not committed."
    else
        git rev-parse --quiet --verify HEAD || say "No label says which commit this is, for there is none yet."
    fi
}

# origin: where git has the project from, if that is an address for others; never with a password in it.
origin() {
    local url
    url=$(git config --get remote.origin.url 2>/dev/null || true)
    case $url in
        http://* | https://* | ssh://* | git://*) printf '%s' "$url" | sed 's#://[^/]*@#://#' ;;
        [!/.]*@*:*) printf '%s' "$url" ;;
    esac
}

answers_digest() {
    local sum
    sum=$({ sha256sum || shasum -a 256; } 2>/dev/null <"../$(answers_file)" || true)
    if [ -n "$sum" ]; then printf 'sha256:%s' "${sum%% *}"; fi
}

# publish_file NAME REVISION: the Compose file that gives the service publish its name and labels.
publish_file() {
    local version source answers
    version=$(sed -n "s/^_commit: *['\"]*\([^'\"]*\).*/\1/p" "../$(answers_file)" 2>/dev/null || true)
    source=$(origin) answers=$(answers_digest)
    printf '%s\n' "services:" "  publish:" "    image: $1" "    build:" "      labels:"
    say_label io.hearth.template.version "${version:-unknown}"
    if [ -n "$answers" ]; then say_label io.hearth.answers.digest "$answers"; fi
    if [ -n "$2" ]; then say_label org.opencontainers.image.revision "$2"; fi
    if [ -n "$source" ]; then say_label org.opencontainers.image.source "$source"; fi
}

cmd_publish() {
    local names image_name revision
    check_name publish "$@"
    before_build
    revision=$(commit)
    case ${1##*/} in
        *:*) names=("$1") ;;
        *)
            names=("$1:latest")
            if [ -n "$revision" ]; then names=("${names[@]}" "$1:$(printf %.12s "$revision")"); fi
            ;;
    esac
    # Compose labels an image with the project's name, in which the person's is: this one gets the bare name.
    publish_file "${names[0]}" "$revision" | COMPOSE_PROJECT_NAME=$(title) engine build_with publish
    for image_name in "${names[@]}"; do
        if [ "$image_name" != "${names[0]}" ]; then docker tag "${names[0]}" "$image_name"; fi
        engine docker push "$image_name"
    done
    warn_of_end
    say "Published ${names[*]}. In another clone, run: $me pull ${names[0]}"
}

# pull_file NAME: the Compose file with which the stage publish is what was pulled, so that only the person's small layer
# is built. BuildKit looks at base images all the same, even where they are not used: it gets one that is here.
pull_file() {
    printf '%s\n' "services:" "  runtime:" "    build:" \
        "      additional_contexts: {publish: 'docker-image://$1'}" "      args:"
    sed -n "s#^ARG \([A-Z0-9_]*_IMAGE\)=.*#        \1: '$1'#p" Dockerfile
}

cmd_pull() {
    local name=${1:-} image_name said runtime dev before stands_in=no
    check_name pull "$@"
    explain_engine # before gigabytes come in for nothing
    image_name=$name
    engine docker pull "$name"
    image_name=''
    said=$(label "$name" org.opencontainers.image.title)
    if [ "$said" != "$(title)" ]; then
        fail "$name is no image of $(title): its label says ${said:-nothing}." "docker image inspect $name"
    fi
    if [ -n "$(docker image inspect --format '{{.Config.User}}' "$name")" ]; then
        fail "$name has a person in it already; an image for everybody is made by publish." \
            "$me publish $name, where the project is built"
    fi
    runtime=$(image "$(service_image runtime)") dev=$(image "$(service_image dev)")
    before=$(docker image inspect --format '{{.Id}}' "$runtime" 2>/dev/null || true)
    case $(docker image inspect --format '{{.Id}}' "$dev" 2>/dev/null || true) in '' | "$before") stands_in=yes ;; esac
    pull_file "$name" | engine build_with runtime
    if [ "$(label "$name" io.hearth.answers.digest)" != "$(answers_digest)" ]; then
        say "It was made from other answers than those of this clone."
    fi
    if [ $stands_in = yes ]; then
        docker tag "$runtime" "$dev"
        say "There is no dev image yet: up and shell use this one. Compilers, editors, test tools and uv come with: $me build dev"
    fi
    said=$(label "$name" org.opencontainers.image.revision)
    say "Pulled $name${said:+ (commit $(printf %.12s "$said"))}. Run: $me run CMD, or $me up"
}

# --- verbs: work -----------------------------------------------------------------------------------------------

cmd_up() {
    local id tries=0 text
    need_image dev
    attach_gpus
    make_folders
    engine docker compose up --detach --no-build dev
    id=$(container dev)
    # The first start installs the project; whoever comes in next expects it there.
    until [ -n "$id" ] && docker exec "$id" test -e /tmp/.container-ready 2>/dev/null; do
        tries=$((tries + 1))
        if [ -z "$(container dev)" ] || [ $tries -gt 600 ]; then
            text=$(docker compose logs --no-log-prefix --tail 20 dev 2>&1)
            say "$text"
            case $text in *'REQUIRE_GPU=1'*) explain_gpus "There is no GPU in the container, and REQUIRE_GPU=1." "$me gpus" ;; esac
            fail "The dev container did not start." "$me logs"
        fi
        sleep 0.2
        id=$(container dev)
    done
    say "The dev container runs. Run: $me shell"
}

cmd_exec() {
    [ $# -gt 0 ] || fail "exec needs a command, such as: exec python -V." "$me help"
    need_container
    exec docker compose exec dev "$@"
}

# compose_binary: Compose without the docker command in front of it.
compose_binary() {
    local folder own=${DOCKER_CONFIG:-${HOME:-}/.docker}
    for folder in "$own" /usr/{local/lib,local/libexec,lib,libexec}/docker; do
        case $folder in *[[:space:]]*) continue ;; esac
        if [ -x "$folder/cli-plugins/docker-compose" ]; then
            printf '%s' "$folder/cli-plugins/docker-compose"
            return
        fi
    done
    explain_engine
    printf 'docker compose'
}

cmd_run() {
    local options=() compose
    while [ $# -gt 0 ]; do
        case $1 in
            -d | --detach) options+=(-d) && shift ;;
            -e | --env | -v | --volume | -w | --workdir | -p | --publish | --name)
                [ $# -ge 2 ] || fail "run: $1 needs a value." "$me help"
                options+=("$1" "$2") && shift 2
                ;;
            --) shift && break ;;
            -*) fail "run does not know $1; it knows -d, -e, -v, -w, -p, --name. A command that starts with - comes after --." "$me help" ;;
            *) break ;;
        esac
    done
    [ $# -gt 0 ] || fail "run needs a command, such as: run python -V." "$me help"
    need_image runtime
    attach_gpus --quiet
    make_folders
    # This process becomes Compose: the command gets the signals that come here, and its exit status goes back.
    # `docker compose` would not do: on SIGTERM it leaves the container alone and running.
    compose=$(compose_binary)
    case $(value COMPOSE_FILE) in *compose.nvidia.yaml* | *compose.cdi.yaml*) exec 2> >(explain_later) ;; esac
    # shellcheck disable=SC2086 # it may be two words
    exec $compose --progress quiet run --rm --no-deps ${options[@]+"${options[@]}"} runtime "$@"
}

cmd_over() {
    local files
    if [ ! -e compose.override.yaml ]; then
        cat >compose.override.yaml <<'OVERRIDE'
# What only you, on this machine, add to compose.yaml; git does not see it. Lists are added to, values replaced.
services:
  dev:
    # ports: ["127.0.0.1:8888:8888"]
    # volumes: ["/scratch/imagenet:/data/imagenet:ro"]
    environment:
      EDITOR: nano
OVERRIDE
        say "Made docker-amd64/compose.override.yaml."
    fi
    files=$(value COMPOSE_FILE)
    case :$files: in
        *:compose.override.yaml:*) ;;
        *) host set "COMPOSE_FILE=$files:compose.override.yaml" ;;
    esac
    say "Edit it, then run: $me up"
}

cmd_ls() {
    local project
    project=$(value COMPOSE_PROJECT_NAME)
    engine docker compose ps --all
    engine docker image ls --filter "reference=$project"
    engine docker volume ls --filter "label=com.docker.compose.project=$project"
}

cmd_clean() {
    local options=()
    case ${1:-} in
        '') ;;
        --all) options=(--volumes) ;;
        *) fail "clean knows --all, not \"$1\"." "$me help" ;;
    esac
    engine docker compose --profile '*' down --remove-orphans --rmi all ${options[@]+"${options[@]}"}
}

verb=${1:-help}
[ $# -eq 0 ] || shift
case $verb in
    help | -h | --help)
        usage
        exit
        ;;
    env)
        cmd_env "$@"
        exit
        ;;
    update | eject) of_template "$verb" "$@" ;;
    build | wheels | add | lock | verify | bench | freeze | pin | publish | pull) ;;
    up | shell | exec | run | logs | stop | start | down | over | gpus | ls | config | root | clean) ;;
    *) fail "There is no verb \"$verb\"." "$me help" ;;
esac
need_env
case $verb in
    shell) cmd_exec bash "$@" ;;
    root)
        need_container
        if [ $# -eq 0 ]; then set -- bash; fi
        exec docker compose exec --user 0 dev "$@"
        ;;
    logs) engine docker compose logs "$@" dev ;;
    stop | start) engine docker compose "$verb" dev ;;
    down) engine docker compose --profile '*' down ;;
    config) engine docker compose --profile '*' config "$@" ;;
    *) "cmd_$verb" "$@" ;;
esac
