# Two commands matter: `make demo` shows it working, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
PACKAGING := .venv-packaging
CHART := .venv-chart
SPARK := .venv-spark
DIST := dist

# Each of the hundreds of processes that the tests start would compile the exporter again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install dev demo config test lint test-fast integration coverage test-e2e test-long test-soak test-months test-oldest bench docs dashboards grafana-com lock dist image clean

# The packages that users install; the development tools are added to them. What is used is compiled when it is first used.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.ready requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.lock
	touch $@

install: $(VENV)/.ready

dev: $(VENV)/.dev

demo: $(VENV)/.ready
	$(BIN)/prefect-monitoring demo

# Creates your files for the stack in docker-compose.yml: docs/stack.md.
config:
	bash scripts/make_config.sh

lint: $(VENV)/.dev
	@ignored=$$(git ls-files --cached --ignored --exclude-standard | head -3); \
	  test -z "$$ignored" || { echo "tracked, but in .gitignore: $$ignored"; exit 1; }
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Tests that are not marked slow and need no server: under 90 s on two cores. ARGS="--durations=25" shows where the time goes.
test-fast: $(VENV)/.dev
	EXAMPLES=0.5 $(BIN)/pytest -n 2 --dist worksteal -m "not slow" tests/unit tests/contract $(ARGS)

integration: $(VENV)/.dev
	$(BIN)/pytest tests/integration

# Three workers on two cores: the tests wait for much of the time. EXAMPLES: `make test-soak` has twenty, not half of them.
WORKERS := 3
test: lint
	bash tests/support/install_servers.sh
	rm -rf .metrics_seen
	EXAMPLES=0.5 METRICS_SEEN=$(CURDIR)/.metrics_seen $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	METRICS_SEEN=$(CURDIR)/.metrics_seen $(BIN)/python tests/support/metrics_seen.py

# The same tests, and which lines they run. Counting these doubles the processor time.
coverage: $(VENV)/.dev
	bash tests/support/install_servers.sh
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90

# From the failure to the message with the shipped intervals, and from a killed flow to its mark: 17 minutes of waiting.
test-e2e: $(VENV)/.dev
	bash tests/support/install_servers.sh
	$(BIN)/pytest -rP tests/e2e/test_the_right_message.py tests/e2e/test_dead_runs.py

# Tests that take minutes, the longest first; -rP shows their measurements.
test-long: $(VENV)/.dev $(PACKAGING)/.ready $(CHART)/.ready
	bash tests/support/install_servers.sh
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -rP tests/long/test_demo.py tests/flows tests/long

# What CI leaves out, and what it does at length; two hours or so. Left out: all queries of the dashboards on a live month, the
# archive read by Spark, the Dockerfile's steps, rules with two replicas, a burst of 2,000 task runs, a storm of sixty failures
# and a blip of the API to their messages. At length: 200 kills while runs are retried (12 in CI), 10,000 failures before a first
# start and 500 at once (2,000 and 150), 100 kills of the archive (20), a million log lines (200,000), a dead run beside 50 living
# ones (5) and with Prefect's own interval of heartbeats, ten minutes of an API that fails in every way (one), twenty times as
# many stories for the state machines.
test-soak: $(VENV)/.dev $(SPARK)/.ready
	bash tests/support/install_servers.sh
	BURST_TASKS=2000 $(BIN)/pytest -rP tests/soak
	ACT_KILLS=200 $(BIN)/pytest -rP tests/long/test_acting_killed.py
	ACT_HISTORY=10000 ACT_STORM=500 $(BIN)/pytest -rP tests/long/test_acting_safely.py
	ARCHIVE_KILLS=100 $(BIN)/pytest -rP tests/unit/archive/test_killed.py
	ARCHIVE_LINES=1000000 $(BIN)/pytest -rP tests/long/test_archive_memory.py
	LIVING_RUNS=50 $(BIN)/pytest -rP tests/e2e/test_dead_runs.py
	BEAT_SECONDS=180 $(BIN)/pytest -rP tests/e2e/test_dead_runs.py
	$(BIN)/pytest -rP tests/e2e/test_many_failures.py tests/e2e/test_blip.py
	CHAOS_SECONDS=600 $(BIN)/pytest -rP tests/long/test_chaos.py
	EXAMPLES=20 $(BIN)/pytest -n 2 --timeout 7200 tests/unit/runtime tests/unit/automations tests/unit/counting

# Two simulated months of scrapes, judged by promtool.
test-months: $(VENV)/.dev
	bash tests/support/install_servers.sh
	$(BIN)/pytest tests/months

# PySpark alone: it is half a gigabyte, and only one test needs it.
$(SPARK)/.ready: requirements-spark.lock
	$(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/pip install --quiet --disable-pip-version-check -r requirements-spark.lock
	touch $@

# The lock, except for the oldest supported Prefect and packages that it needs in older versions.
$(OLDEST)/.ready: requirements-dev.lock pyproject.toml tests/support/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	sed -En 's/^([a-z0-9-]+).*/^\1==/p' tests/support/oldest.txt >$(OLDEST)/others
	grep -E '^[a-z]' requirements-dev.lock | grep -vf $(OLDEST)/others >$(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -r tests/support/oldest.txt --editable '.[dev,demo]'
	touch $@

# Tests against the oldest Prefect, client and server; `make test-oldest ARGS=tests/integration/test_process.py`.
test-oldest: $(OLDEST)/.ready
	bash tests/support/install_servers.sh
	$(OLDEST)/bin/pytest $(or $(ARGS),tests/integration tests/flows)

# ARGS="--postgres --size 1k" and so on; `make bench ARGS=--help` lists them.
bench: $(VENV)/.dev
	bash tests/support/install_servers.sh
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.dev
	$(BIN)/python -m scripts.generate_reference docs
	$(BIN)/python -m scripts.generate_chart
	{ echo "# alertmanager/alertmanager.yml with the demo's stand-in instead of PagerDuty and the dead man's switch: \`make docs\`."; \
	  sed -e 's#https://events.pagerduty.com/#http://inbox:9099/pagerduty/#' \
	      -e 's#https://dead-mans-switch.invalid/put-your-own-here#http://inbox:9099/heartbeat#' alertmanager/alertmanager.yml; \
	} >examples/alertmanager.yml

# The sdist, and the wheel that is built from it.
dist: $(PACKAGING)/.ready
	rm -f $(DIST)/prefect_monitoring-*
	$(PACKAGING)/bin/uv build --quiet --out-dir $(DIST)
	$(PACKAGING)/bin/twine check --strict $(DIST)/prefect_monitoring-*

$(PACKAGING)/.ready: requirements-packaging.lock
	$(PYTHON) -m venv $(PACKAGING)
	$(PACKAGING)/bin/pip install --quiet --disable-pip-version-check --no-compile $(shell grep ^uv== requirements-packaging.lock)
	$(PACKAGING)/bin/uv pip install --quiet --python $(PACKAGING) -r requirements-packaging.lock
	touch $@

# Helm and schemas, 350 MB: only the tests of charts/prefect-monitoring need them.
$(CHART)/.ready: requirements-chart.lock $(PACKAGING)/.ready
	$(PACKAGING)/bin/uv venv --quiet --clear --python $(PYTHON) $(CHART)
	$(PACKAGING)/bin/uv pip install --quiet --python $(CHART) -r requirements-chart.lock
	touch $@

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' exporter/prefect_monitoring/__init__.py)

# The image under its version, minor version and latest: `make image IMAGE=registry.example/prefect-monitoring`.
IMAGE := prefect-monitoring
image:
	docker build --file exporter/Dockerfile --pull \
	  --label org.opencontainers.image.revision=$(shell git rev-parse HEAD) \
	  --label org.opencontainers.image.created=$(shell date -u +%Y-%m-%dT%H:%M:%SZ) \
	  $(addprefix --tag $(IMAGE):,$(VERSION) $(basename $(VERSION)) latest) .

# The dashboards in the form for grafana.com.
grafana-com: $(VENV)/.dev
	$(BIN)/python -m grafana.src.grafana_com $(DIST)/grafana.com

dashboards: $(VENV)/.dev
	$(BIN)/python -m grafana.src

PIP_COMPILE := $(BIN)/pip-compile --quiet --strip-extras --upgrade --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

# Locks for users, with AWS and the archive as extras, and for development; a package has the same version in all of them.
# The locks for packaging, the chart and Spark are independent.
lock: $(VENV)/.dev
	$(PIP_COMPILE) --extra demo --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) --extra demo --extra aws --constraint requirements.lock --output-file requirements-aws.lock pyproject.toml
	$(PIP_COMPILE) --extra demo --extra archive --constraint requirements-aws.lock --output-file requirements-archive.lock pyproject.toml
	$(PIP_COMPILE) --extra demo --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	$(PIP_COMPILE) --output-file requirements-packaging.lock requirements-packaging.in
	$(PIP_COMPILE) --output-file requirements-chart.lock requirements-chart.in
	$(PIP_COMPILE) --output-file requirements-spark.lock requirements-spark.in

clean:
	rm -rf $(VENV) $(OLDEST) $(PACKAGING) $(CHART) $(SPARK) $(DIST) .coverage* .metrics_seen .pytest_cache .mypy_cache .ruff_cache .hypothesis
