# Two commands matter: `make demo` and `make test`. Everything they need is set up here.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TESTED = $(VENV)/.tested
READY = $(VENV)/.ready
NODE = tests/servers/node/node_modules/.ready
# starlette-graphene3 needs an older graphql-core than gqlwire's tests.
GRAPHENE = .venv-graphene/.ready
NEWEST = .venv-newest
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Says what runs and about how long it takes (two cores that nobody else needs), and is not silent.
STAGE = @$(PYTHON) tools/stage.py
# Two workers for each of two cores, as half of the tests wait for a server.
PYTEST = $(BIN)/python -m pytest -q -n 4 --dist worksteal
COVERED = $(BIN)/python -m coverage run -m pytest -q -n 4 --dist worksteal
# Each test is in one of the two at least: tests/tools/test_targets.py.
SHORT = not long
LONG = long or hypothesis

# Each process of a test would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all other-pythons test-only test-newest check docs bench storm fuzz soak clean

demo: $(VENV)/.demo
	$(BIN)/gqlwire demo

test: $(TESTED) $(NODE) $(GRAPHENE)
	$(STAGE) "tests, but for the long ones (make test-all)" "3 minutes" \
	  $(if $(COVER),$(COVERED),$(PYTEST)) -m "$(SHORT)"

# What `make test` leaves out: the coverage, the long tests, arbitrary input at length, and every
# other supported Python that this machine has. CI spares one run of the tests: it says
# `make test COVER=yes`, which measures the coverage, and then `make test-all COVER=done`.
test-all: $(TESTED) $(NODE) $(GRAPHENE)
ifneq ($(COVER),done)
	@$(BIN)/python -m coverage erase
	$(STAGE) "the tests of make test under coverage" "4 minutes" $(COVERED) -m "$(SHORT)"
endif
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python tools/coverage_gates.py
	$(STAGE) "long tests, and more arbitrary input" "2 minutes" \
	  $(PYTEST) --hypothesis-profile=whole -m "$(LONG)"
	$(STAGE) "the tests of make test on other Pythons" "6 minutes" \
	  $(MAKE) --no-print-directory other-pythons

# Two at a time; what one of them says is shown when it is through.
other-pythons:
	@$(PYTHON) tools/pythons.py | xargs -P 2 -I PYTHON sh -c ' \
	  venv=.venv-$$(PYTHON -c "import sys; print(sys.version[:4])"); \
	  $(MAKE) --no-print-directory VENV=$$venv PYTHON=PYTHON test-only >$$venv.log 2>&1; \
	  status=$$?; cat $$venv.log; rm $$venv.log; exit $$status'

test-only: $(TESTED) $(NODE) $(GRAPHENE)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "$(SHORT)"

# The tests with the newest releases of what gqlwire needs, pre-releases included, whatever upper
# bounds it has: they say what will break. CI runs this each week (.github/workflows/newest.yml).
test-newest: $(NODE) $(GRAPHENE)
	@$(MAKE) --no-print-directory VENV=$(NEWEST) $(NEWEST)/.tested
	$(STAGE) "the newest releases of what gqlwire needs" "20 seconds" \
	  $(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --pre \
	  $$($(PYTHON) tools/dependencies.py)
	@$(NEWEST)/bin/python -m pip list --disable-pip-version-check
	$(STAGE) "tests with them" "3 minutes" \
	  $(NEWEST)/bin/python -m pytest -q -n 4 --dist worksteal -m "$(SHORT)"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict tests/typing/api.py
	$(BIN)/python tools/verify_types.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/size_budget.py

# Runs every code block of the README and the docs, and every example.
docs: $(READY)
	$(BIN)/python tools/run_docs.py

# Measures gqlwire beside its peers, which it sets up by itself, and writes benchmarks/results and
# the tables of docs/benchmarks.md. Takes about twenty minutes: leave the machine alone.
bench: $(READY)
	$(BIN)/python -m benchmarks $(BENCH)
	$(BIN)/python -m benchmarks --docs

# The proof of survival, at length: 300 faults with each server, then 10,000 mutations with each.
# Takes about ten minutes. STORM adds options: STORM='--seed 7 --server node'.
storm: $(READY) $(NODE)
	$(BIN)/python tests/reconnect/storm.py $(STORM)
	$(BIN)/python tests/reconnect/storm.py --mutations 10000 --faults 150 $(STORM)

# A hostile server against a live client: other attacks than those of `make test`, for ten minutes.
# FUZZ adds options: FUZZ='--minutes 60 --seed 7'.
fuzz: $(TESTED)
	$(BIN)/python tests/fuzz/longer.py $(FUZZ)

# The proof of endurance: 200 feeds for an hour, half of it while everything fails, and half of it at
# a high rate; and whether anything has grown. SOAK adds options: SOAK='--minutes 3 --seed 7'.
soak: $(READY) $(NODE)
	$(BIN)/python tests/soak/soak.py $(SOAK)

# What the demo needs is a part of what the tests need, and much smaller.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(STAGE) "a virtual environment in $(VENV)" "5 seconds" $(PYTHON) -m venv $(VENV)
	@$(PIP) pip
	$(STAGE) "gqlwire and what it needs" "20 seconds" $(PIP) -e '.[demo,deflate]'
	@touch $@

$(TESTED): $(VENV)/.demo
	$(STAGE) "what the tests need" "20 seconds" $(PIP) --group tests
	@touch $@

# Not for the further Pythons: the checks are the same on each.
$(READY): $(TESTED)
	$(PIP) --group dev
	@touch $@

$(GRAPHENE): tests/servers/graphene-requirements.txt
	$(STAGE) "starlette-graphene3 in .venv-graphene" "10 seconds" $(PYTHON) -m venv .venv-graphene
	@.venv-graphene/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The reference servers of both protocols, and those of frameworks. Without Node the tests that need
# them say so and are skipped, and fail where CI=true.
$(NODE): tests/servers/node/package.json
	$(STAGE) "the reference servers on Node" "30 seconds" sh -c ' \
	if command -v npm >/dev/null; then \
	  cd tests/servers/node && npm install --no-audit --no-fund --loglevel=error && touch node_modules/.ready; \
	else echo "npm is not here: no tests against the Node reference servers"; fi'

clean:
	rm -rf .venv* benchmarks/.peers tests/servers/node/node_modules .coverage* .mypy_cache .ruff_cache .pytest_cache
