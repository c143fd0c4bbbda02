#!/usr/bin/env bash
# One verb for each thing you do with this project's containers: ./template.sh help is the manual.
# It only calls `docker compose` in this folder; plain `docker compose up` reads the same files and does the same.
set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
me=./template.sh
case ${BASH_SOURCE[0]} in */*) me=${BASH_SOURCE[0]} ;; esac

usage() {
    cat <<MANUAL
Usage: $me VERB

This machine
  env [--show|--json|--refresh [KEY...]]  fill .env from this machine; --show only prints what was found
  over                                    create compose.override.yaml for your own mounts and ports
  gpus                                    the GPUs, their load, whose programs run there, which are this project's

Images and packages
  build [runtime|dev]       build both images, or one
  add [--dev] NAME...       add packages to dependencies/pyproject.toml and uv.lock
  lock [--check|--upgrade [NAME...]]
                            bring uv.lock up to date; say whether it is; take newer versions
  verify [runtime|dev] [--json]
                            check in the images what was asked for: PyTorch, CUDA, code for the GPUs
  freeze [-y]               compare what is installed in dev with the files, and write it there

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
    fail "No Python 3.8 or newer on this machine; the probe that fills .env is written in it." \
        "cp .env.example .env, and set USRID=$(id -u) GRPID=$(id -g) there"
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

# explain TEXT: the engine's words are on the screen already; the cause and the command come last.
explain() {
    if ! command -v docker >/dev/null 2>&1; then
        fail "Docker is not installed on this machine (https://docs.docker.com/engine/install says how on each system)." \
            "sudo apt-get install docker.io docker-compose-v2"
    fi
    case $1 in
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
                "copier update --trust --defaults --vcs-ref :current: --data cuda_version=..."
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
        *'ertificate verify failed'* | *CERTIFICATE_VERIFY_FAILED* | *'invalid peer certificate'* | *UnknownIssuer* | *'x509: certificate'*)
            fail "A proxy inspects TLS, and the build does not trust its certificate: name a file of certificates as CA_BUNDLE in .env." \
                "$me env --refresh CA_BUNDLE"
            ;;
        *toomanyrequests* | *'pull rate limit'*)
            fail "The registry has had too many requests from this address." "docker login"
            ;;
        *'failed to resolve source metadata'* | *'pull access denied'* | *'manifest unknown'*)
            fail "A base image could not be had: no network, no login, or no such tag. BASE_IMAGE and UV_IMAGE in .env can name a mirror." \
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
        *'uv.lock`'*'needs to be updated'*)
            fail "dependencies/uv.lock does not match dependencies/pyproject.toml." "$me lock"
            ;;
        *'No solution found when resolving'*)
            fail "No versions fit dependencies/pyproject.toml: a package does not exist, or two do not go together. Nothing was changed." \
                "$me lock, when it is corrected there"
            ;;
    esac
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
        *'device driver'* | *'CDI device'* | *'runtime name'* | *'unsatisfied condition'* | *'error mounting'*) explain "$text" ;;
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
        case $file in .env | compose.yaml | compose.ca.yaml | compose.nvidia.yaml | compose.cdi.yaml) ;; *) known=no ;; esac
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

# --- verbs: images and packages --------------------------------------------------------------------------------

# tools CMD...: uv's world in a container, in dependencies/, as you.
tools() {
    engine docker compose --progress quiet run --rm --no-deps -T tools "$@"
}

# What a failing step says goes to stdout, that it failed to stderr: to explain it takes both.
build_images() { docker compose build "$@" >&2; }

build_tools() {
    if [ -z "$(docker image inspect --format x "$(image "$(service_image tools)")" 2>/dev/null)" ]; then
        engine build_images tools
    else
        engine docker compose --progress quiet build tools
    fi
}

# A new project of existing code has its packages in requirements.txt: they go into dependencies/pyproject.toml, once.
take_requirements() {
    local code file line left='' names=() torch
    code=$(value LOCAL_CODE_DIR)
    file=${code:-..}/requirements.txt
    if [ -f dependencies/uv.lock ] || [ ! -f "$file" ] || ! grep -q '^dependencies = \[\]$' dependencies/pyproject.toml; then return; fi
    torch=$(grep -c '^torch = ' dependencies/pyproject.toml || true)
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%$'\r'} line=${line%%[[:blank:]]#*} line=${line%\\}
        line=${line#"${line%%[![:blank:]]*}"} line=${line%"${line##*[![:blank:]]}"}
        case $line in
            '' | \#* | --hash*) ;;
            -* | .* | /* | file:*)
                left="$left  $line (an option or a local path: dependencies/pyproject.toml can say it, see uv's documentation)"$'\n'
                ;;
            *)
                if [ "$torch" != 0 ] && printf '%s' "$line" | grep -Eiq '^(torch|triton|nvidia-[a-z0-9-]+)([^a-z0-9_-]|$)'; then
                    left="$left  $line (the PyTorch version is an answer: copier update --data torch_version=...)"$'\n'
                else
                    names+=("$line")
                fi
                ;;
        esac
    done <"$file"
    [ ${#names[@]} -gt 0 ] || return 0
    say "Taking ${#names[@]} packages from requirements.txt into dependencies/pyproject.toml."
    if [ -n "$left" ]; then printf 'Left out:\n%s' "$left" >&2; fi
    tools uv add --no-sync --raw "${names[@]}"
}

cmd_lock() {
    local arguments=()
    case ${1:-} in
        '') ;;
        --check) arguments=(--check) ;;
        --upgrade)
            shift
            if [ $# -eq 0 ]; then arguments=(--upgrade); fi
            for name in "$@"; do arguments+=(--upgrade-package "$name"); done
            ;;
        *) fail "lock knows --check and --upgrade [NAME...], not \"$1\"." "$me help" ;;
    esac
    build_tools
    if [ "${1:-}" = --check ] && [ ! -f dependencies/uv.lock ]; then fail "There is no dependencies/uv.lock yet." "$me lock"; fi
    if [ "${arguments[*]:-}" = --check ]; then
        tools uv lock --check
        return
    fi
    take_requirements
    tools uv lock ${arguments[@]+"${arguments[@]}"}
}

cmd_add() {
    local group=()
    if [ "${1:-}" = --dev ]; then group=(--group dev) && shift; fi
    [ $# -gt 0 ] || fail "add needs the name of a package, such as: add pandas 'numpy<3'." "$me help"
    build_tools
    take_requirements
    tools uv add --no-sync ${group[@]+"${group[@]}"} -- "$@"
    say "Added to dependencies/pyproject.toml and uv.lock. Run: $me build"
}

cmd_build() {
    local targets=("$@") target
    for target in ${targets[@]+"${targets[@]}"}; do
        case $target in runtime | dev) ;; *) fail "There is no image \"$target\"; there are runtime and dev." "$me build dev" ;; esac
    done
    if [ $# -eq 0 ]; then targets=(runtime dev); fi
    case $(value UV_DEFAULT_INDEX) in
        *://*@*)
            fail "UV_DEFAULT_INDEX in .env holds a password, which the image would keep: write it into the netrc file of NETRC_FILE."
            ;;
    esac
    if [ ! -f dependencies/uv.lock ] || [ dependencies/pyproject.toml -nt dependencies/uv.lock ]; then
        say "Bringing dependencies/uv.lock up to date."
        cmd_lock ""
        touch dependencies/uv.lock
    fi
    engine build_images "${targets[@]}"
    case "${targets[*]}" in
        runtime) say "Built: runtime. Run: $me run CMD" ;;
        *) say "Built: ${targets[*]}. Run: $me up" ;;
    esac
}

cmd_verify() {
    local targets=() json='' target name report status=0 separator='{'
    [ -f verify.py ] || fail "This project chose no framework that could be verified." "copier update --trust --data torch_version=..."
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
        report=$(engine docker compose --progress quiet run --rm --no-deps -T --entrypoint python "$target" \
            /opt/container/verify.py $json) || status=1
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

cmd_freeze() {
    local installed locked roots line name wanted=() apt
    need_container
    build_tools
    installed=$(docker compose exec -T dev uv pip freeze --exclude-editable)
    locked=$(docker compose --progress quiet run --rm --no-deps -T tools \
        uv export --quiet --frozen --all-groups --no-hashes --no-annotate --no-header --no-emit-project | sed 's/ *;.*//')
    roots=$(docker compose exec -T dev uv pip tree --depth 0 2>/dev/null | sed 's/ .*//')
    while IFS= read -r line; do
        name=${line%%[ =@]*}
        if printf '%s\n' "$locked" | grep -Fxq -- "$line"; then continue; fi
        # A package that another one brought along comes by itself; one whose version changed by hand is wanted.
        if printf '%s\n' "$roots" | grep -Fxq -- "$name" || printf '%s\n' "$locked" | grep -q "^$name=="; then
            wanted+=("$line")
        fi
    done <<<"$installed"
    apt=$(comm -13 <(docker run --rm --entrypoint apt-mark "$(image "$(service_image dev)")" showmanual | sort) \
        <(docker compose exec -T dev apt-mark showmanual | sort))
    if [ ${#wanted[@]} -eq 0 ] && [ -z "$apt" ]; then
        say "Nothing is installed in dev that the files do not list."
        return
    fi
    if [ ${#wanted[@]} -gt 0 ]; then
        # shellcheck disable=SC2016 # $@ is the container's
        tools bash -c 'cp pyproject.toml uv.lock /tmp && cd /tmp && uv add -q --no-sync --raw -- "$@" &&
            diff -u --label pyproject.toml --label "pyproject.toml with what is installed" \
                /opt/dependencies/pyproject.toml pyproject.toml || [ $? = 1 ]' \
            bash "${wanted[@]}"
    fi
    if [ -n "$apt" ]; then
        printf '%s\n' "--- apt-dev.txt" "+++ apt-dev.txt with what is installed" "${apt//$'\n'/$'\n'+}" | sed '3s/^/+/'
    fi
    if [ "${1:-}" != -y ]; then
        if [ ! -t 0 ]; then
            say "Nothing is written without -y."
            return
        fi
        printf 'Write this? [y/N] ' >&2
        read -r line
        case $line in y | Y | yes) ;; *) return ;; esac
    fi
    if [ ${#wanted[@]} -gt 0 ]; then tools uv add --no-sync --raw -- "${wanted[@]}"; fi
    if [ -n "$apt" ]; then printf '%s\n' "$apt" >>dependencies/apt-dev.txt; fi
    say "Written. Run: $me build"
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
    build | add | lock | verify | freeze | up | shell | exec | run | logs | stop | start | down) ;;
    over | gpus | ls | config | root | clean) ;;
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
