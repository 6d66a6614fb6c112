# Needs only Python >= 3.11 and make. Every target sets up what it uses; nothing is installed outside .venv.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash

.PHONY: setup ship-tools fmt lint test bench chaos soak fuzz demo run image image-test lock clean
.DEFAULT_GOAL := demo

setup: .venv/.ready

.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "keepwarm needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv (about a minute, once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

ship-tools: .venv-ship/.ready  ## what checks deploy/: cfn-lint, checkov, parliament, moto's server, Kubernetes schemas

.venv-ship/.ready: requirements/ship.txt
	@$(PYTHON) -m venv .venv-ship
	@.venv-ship/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/ship.txt
	@touch $@

demo: setup  ## the main job: a daemon keeps four prefixes warm on a Bedrock that runs inside it
	@$(BIN)/keepwarm demo

run: setup  ## the daemon, on config/registry.yaml
	@$(BIN)/keepwarm run

test: setup  ## every test that needs no AWS account, with the coverage gates
	@$(BIN)/python -m pytest --cov -n 4 --dist worksteal
	@$(BIN)/python -m coverage report --include='$(PURE)' --fail-under=100 --skip-covered

bench: setup  ## what each policy captures (TRACES=DIRECTORY adds traces), what the reporter adds to a call, scale in short
	@$(BIN)/python benchmarks/policies.py --page docs/benchmarks.md
	@$(BIN)/python benchmarks/reporter_overhead.py
	@$(BIN)/python benchmarks/scale.py --prefixes 1000 --lifetime 20 --bodies own

chaos: setup  ## break it as a seed says, some minutes long (SEED=7), and tell which invariants held
	@PYTHONPATH=. $(BIN)/python -m tests.chaos.campaign --seed $(or $(SEED),7)

soak: setup  ## eight hours of traffic in twelve minutes, then thirty minutes in real time: does anything grow?
	@$(BIN)/python benchmarks/soak.py --virtual-hours 8
	@$(BIN)/python benchmarks/soak.py --minutes 30

fuzz: setup .venv-fuzz/.ready  ## one reader of what others wrote, guided by coverage (TARGET=registry, SECONDS=3600)
	@mkdir -p .fuzz/$(TARGET) && cd .fuzz/$(TARGET) && \
	  PYTHONPATH=$(CURDIR):$(CURDIR)/.venv-fuzz $(CURDIR)/$(BIN)/python -m tests.fuzz.drive $(TARGET) --seconds $(or $(SECONDS),60) --corpus corpus

.venv-fuzz/.ready: requirements/fuzz.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --upgrade --target .venv-fuzz -r requirements/fuzz.txt
	@touch $@

PURE := keepwarm/model/*.py,keepwarm/errors.py,keepwarm/dialects.py,keepwarm/fingerprint.py,keepwarm/replay.py,keepwarm/pricing.py,keepwarm/busyhours.py,keepwarm/blind.py,keepwarm/permissions.py,keepwarm/pauses.py,keepwarm/views/*.py,keepwarm/alerts/kinds.py,keepwarm/alerts/heard.py,keepwarm/alerts/rules.py,keepwarm/alerts/lateness.py,keepwarm/alerts/pace.py,keepwarm/alerts/wording.py,keepwarm/differences.py,keepwarm/guards/*.py,keepwarm/policies/*.py,keepwarm/courses.py,keepwarm/accounting.py,keepwarm/rollups.py,keepwarm/sums.py,keepwarm/clairvoyant.py,keepwarm/counterfactual/*.py,keepwarm/touches.py,keepwarm/planner.py,keepwarm/traffic/records.py

lint: setup  ## style, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: setup
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

lock: setup  ## write requirements/*.txt anew from pyproject.toml
	@for target in run dev; do \
	  extra="--extra postgresql $$([ $$target = dev ] && echo "--extra otel --extra test --extra check --extra plot -c requirements/run.txt")"; \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links $$extra -o requirements/$$target.txt pyproject.toml; done
	@for target in build ship fuzz; do \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links -o requirements/$$target.txt requirements/$$target.in; done

clean:
	@rm -rf .venv .venv-ship .venv-fuzz .fuzz build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

image: requirements/run.txt requirements/build.txt  ## the container image, with whichever builder there is; on BASE=NAME@DIGEST
	@if command -v docker > /dev/null; then build="docker build"; \
	elif command -v buildah > /dev/null; then build="buildah build --format docker"; \
	else echo "make image needs docker or buildah"; exit 1; fi; \
	version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' keepwarm/__init__.py); \
	$$build $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$$version \
	  --build-arg REVISION=$$(git rev-parse HEAD 2> /dev/null || echo unknown) -t keepwarm -t keepwarm:$$version .

image-test: setup  ## the image built, run, pinged, drained, without a Docker engine; as root, with buildah, podman, runc, mmdebstrap
	@TEST_IMAGE=1 $(BIN)/python -m pytest -q -s tests/process/test_image.py
