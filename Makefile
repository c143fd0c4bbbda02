# Hearth: one word for each thing a person does in this repository. `make help` lists them.
# Needs git, make, and Python 3.10 or later with venv (or uv); everything else is installed into .venv.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

# Read by the recipes from the environment, so that blanks and quotes in them survive. `eval` lets the shell read the
# quotes in ARGS: make fast ARGS='-k "one or other"'.
export DIR REF DATA ARGS VERSION TESTED
# Nor does make take what follows a dollar sign in them for a variable of its own.
override DIR := $(value DIR)
override DATA := $(value DATA)

# The first Python that is new enough; PYTHON=... chooses another.
define find_python
for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do \
  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 && break; python=; \
done; \
[ -n "$$python" ] || { echo "Hearth needs Python 3.10 or later: install it, or name it with make PYTHON=/path/to/python3." >&2; exit 1; }
endef

# $(call install,LOCK): what the lock lists, by uv where it is there, else by pip.
define install
@echo "Installing $(1) into .venv ..."
@if command -v uv >/dev/null 2>&1; \
then uv pip install --quiet --python .venv --require-hashes --requirement $(1); \
else "$(BIN)/python" -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --requirement $(1); fi
@touch $@
endef

# Tests wait for an engine more than they compute; those of one file share what they have built. They start in the order
# of tests/conftest.py: at the end, when a process has nothing left to do, only short ones run.
PYTEST := -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder --durations=25

.venv/pyvenv.cfg:
	@$(find_python); \
	if command -v uv >/dev/null 2>&1; then uv venv --quiet --allow-existing --python "$$python" .venv; \
	else "$$python" -m venv .venv || { \
	  echo "Python could not make .venv: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; \
	  rm -rf .venv; exit 1; }; fi

.venv/installed-generate: requirements.txt .venv/pyvenv.cfg
	$(call install,requirements.txt)

.venv/installed-dev: requirements-dev.txt .venv/pyvenv.cfg
	$(call install,requirements-dev.txt)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: new
new: ## a new project: make new DIR=../myproj  (DATA='service=train jit=no' answers; REF=v0.1.0 or REF=HEAD, a version)
	@[ -n "$$DIR" ] || { echo "Say where the project goes: make new DIR=../myproj" >&2; exit 2; }
	@$(MAKE) --no-print-directory --silent .venv/installed-generate
	@"$(BIN)/python" -B -m hooks.generate.new_project

.PHONY: setup
setup: .venv/installed-dev ## everything that work on the template needs, into .venv

.PHONY: test
test: lint ## linters and all tests; engine tests run where an engine answers, HEARTH_ENGINE=required insists
	@eval "\"$(BIN)/python\" $(PYTEST) $$ARGS"

.PHONY: fast
fast: .venv/installed-dev ## the tests that need no container engine; ARGS='-k "one or other"' picks some
	@eval "\"$(BIN)/python\" $(PYTEST) -m 'not engine' $$ARGS"

.PHONY: lint
lint: .venv/installed-dev ## ruff, mypy, shellcheck, shfmt, actionlint, the workflow against its schema
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/lint

.PHONY: format
format: .venv/installed-dev ## rewrite Python and shell files the way lint wants them
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/lint --fix

.PHONY: lock
lock: .venv/installed-dev ## all requirement files from pyproject.toml; ARGS=--upgrade moves the versions
	@compile() { \
	  UV_CUSTOM_COMPILE_COMMAND="make lock" "$(BIN)/uv" pip compile --quiet --universal --python-version "$$@" \
	    --only-binary :all: --generate-hashes --no-emit-index-url --no-emit-build-options --no-annotate; }; \
	compile 3.10 $$ARGS --group dev --output-file requirements-dev.txt && \
	compile 3.10 --group generate --constraint requirements-dev.txt --output-file requirements.txt && \
	compile 3.9 $$ARGS --no-header --group torch-build --output-file template/docker-amd64/image/torch-build.txt && \
	compile 3.9 $$ARGS --no-header --group tools --output-file template/docker-amd64/image/tools.txt && \
	compile 3.9 $$ARGS --no-header --no-deps --group torch-build-mkl --output-file template/docker-amd64/image/torch-build-mkl.txt && \
	compile 3.10 $$ARGS --no-header --group airflow --output-file template/docker-amd64/airflow/requirements.txt

.PHONY: bench
bench: .venv/installed-dev ## the measurements of docs/developing.md as a table and JSON
	@eval "\"$(BIN)/python\" -m tests.bench $$ARGS"

.PHONY: pictures
pictures: .venv/installed-dev ## take the pictures of docs/pictures, of commands and pages that really run; ARGS=doctor: one scene
	@"$(BIN)/python" -m tests.pictures $(ARGS)

.PHONY: smoke
smoke: .venv/installed-dev ## build a sample of all projects that there are: smoke.md; ARGS=--help says what can be chosen
	@eval "\"$(BIN)/python\" -m tests.smoke $$ARGS"

.PHONY: public
public: .venv/installed-dev ## take in public projects as they are, lock, build and import them: public.md; ARGS=--help says what can be chosen
	@eval "\"$(BIN)/python\" -m tests.public_projects $$ARGS"

.PHONY: site
site: .venv/installed-dev ## the documentation as a site, in website/out; a dead link or an unknown option is named
	@"$(BIN)/python" -B -m website.build

.PHONY: release
release: .venv/installed-dev ## check, test, record and tag a version: make release VERSION=1.2.3  (pushes nothing; TESTED=COMMIT: CI has tested it)
	@PYTHONPATH="$(CURDIR)" "$(BIN)/python" .ci/release.py release "$$VERSION" $$TESTED

.PHONY: release-tags
release-tags: .venv/installed-dev ## the tags of RELEASES that this clone lacks
	@PYTHONPATH="$(CURDIR)" "$(BIN)/python" .ci/release.py tags

.PHONY: clean
clean: ## remove .venv and the caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
