# The commands of a clone. Everything runs in .venv, which is created on first use; the files in STAMPS mark completed
# steps.
PYTHON ?= python3
BIN    := .venv/bin
STAMPS := .venv/stamps
LOWEST := .venv/lowest
NODE   := tests/web/node_modules/.bin
# Workers that run test modules in parallel, in the order of tests/conftest.py. Fast tests wait now and then, so there is
# one worker more than there are cores. The whole suite has tests that wait most of their time, and a further worker for
# them; tests/turns.py bounds how many of the others run.
CORES  := $(shell getconf _NPROCESSORS_ONLN)
BESIDE := --dist loadscope --no-loadscope-reorder --maxprocesses 8
MEASURE = $(shell $(BIN)/python -c "import sys; print('COVERAGE_CORE=sysmon' * (sys.version_info >= (3, 12)))")
# Always write compiled modules, also of tests: hundreds of processes import the same ones.
unexport PYTHONDONTWRITEBYTECODE
FAST   := -q -m "not slow" --hypothesis-profile check -n $$(($(CORES) + 1)) $(BESIDE)

.PHONY: help demo test check coverage docs lowest format screenshot

help: ## list the available targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/'

demo: $(STAMPS)/install $(STAMPS)/data ## train a recommender on real data and monitor it; ARGS="--rate 20 --ranks 2"
	$(BIN)/recis-monitor demo $(ARGS)

test: $(STAMPS)/node $(STAMPS)/browser $(STAMPS)/postgres $(STAMPS)/servers $(STAMPS)/data ## run all checks and tests, including browser tests
	@$(MAKE) --no-print-directory -j2 lint full

coverage: $(STAMPS)/browser $(STAMPS)/postgres $(STAMPS)/servers $(STAMPS)/data ## run all tests with line coverage; fast on Python 3.12 and newer
	$(MEASURE) $(BIN)/python -m pytest -n $$(($(CORES) + 1)) $(BESIDE) --timeout 300 --cov --cov-report=term $(ARGS)

check: $(STAMPS)/install $(STAMPS)/node ## run the formatters, linters, type checks, rule tests and fast tests
	@$(MAKE) --no-print-directory -j2 lint fast

docs: $(STAMPS)/install ## build the HTML documentation; warnings and broken links are errors
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

lowest: $(STAMPS)/lowest ## run the fast tests with the lowest dependency versions allowed by pyproject.toml
	$(LOWEST)/bin/python -m pytest $(FAST) $(ARGS)

format: $(STAMPS)/install $(STAMPS)/node ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(NODE)/biome check --write

screenshot: $(STAMPS)/browser $(STAMPS)/data ## take the pictures of the documentation again, from real runs
	$(BIN)/python scripts/screenshot.py

.PHONY: fast full lint
full: $(STAMPS)/install
	TMPDIR=$$(sh scripts/test_folder.sh) $(BIN)/python -m pytest -n $$(($(CORES) + 2)) $(BESIDE) --durations=10 $(ARGS)

fast: $(STAMPS)/install
	TMPDIR=$$(sh scripts/test_folder.sh) $(BIN)/python -m pytest $(FAST) $(ARGS)

# With low priority: some of the tests that run at the same time measure time.
lint: $(STAMPS)/install $(STAMPS)/node
	nice $(BIN)/ruff format --check
	nice $(BIN)/ruff check
	nice $(NODE)/biome check
	nice $(NODE)/tsc -p web
	nice $(BIN)/mypy

$(STAMPS)/venv:
	$(PYTHON) -m venv .venv
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/torch: $(STAMPS)/venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	touch $@

$(STAMPS)/install: $(STAMPS)/torch pyproject.toml scripts/compile_rows.py recis/bridge/_row_writer.c recis/wire/version.py
	$(BIN)/python -m pip install --quiet --editable '.[server,scale,mcp,dev,docs]'
	touch $@

# torch has the same version as in .venv: its lowest version is a download of gigabytes.
$(STAMPS)/lowest: $(STAMPS)/install
	$(BIN)/uv pip compile --quiet pyproject.toml --extra server --extra parquet --extra scale --extra oidc \
		--resolution lowest-direct --output-file $(LOWEST).txt
	$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet torch==2.13.0
	$(BIN)/uv pip install --quiet --python $(LOWEST) --constraints $(LOWEST).txt \
		--editable '.[server,parquet,scale,oidc,dev]'
	touch $@

$(STAMPS)/data: $(STAMPS)/install
	$(BIN)/python -m recis.demo.movielens
	touch $@

$(STAMPS)/browser: $(STAMPS)/install
	sh scripts/install_browser.sh $(BIN)/playwright
	touch $@

$(STAMPS)/postgres: $(STAMPS)/venv
	sh scripts/install_postgres.sh
	touch $@

$(STAMPS)/servers: $(STAMPS)/venv
	sh scripts/install_servers.sh
	touch $@

$(STAMPS)/node: $(STAMPS)/venv tests/web/package-lock.json
	npm --prefix tests/web ci --silent --no-audit --no-fund
	touch $@
