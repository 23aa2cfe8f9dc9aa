# Two commands matter: `make demo` and `make test`. Everything they need is set up here.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TESTED = $(VENV)/.tested
READY = $(VENV)/.ready
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Two workers for each of two cores, as half of the tests wait for a server; and a file to each, so
# that the servers of a file are started once.
PYTEST = pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-only check docs bench storm clean

demo: $(VENV)/.demo
	$(BIN)/gqlwire demo

# What takes twice as long under coverage, and covers nothing that the others do not.
APART = hypothesis or storm or uncounted or once

test: $(TESTED) tests/servers/node/node_modules/.ready
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m $(PYTEST) -m "not ($(APART))"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python tools/coverage_gates.py
	$(BIN)/python -m $(PYTEST) -m "$(APART)"

# The same tests on every other supported Python that this machine has, two at a time, but for those
# of arbitrary input, the storms, and those of the tests' own parts.
test-all: tests/servers/node/node_modules/.ready
	@$(PYTHON) tools/pythons.py | xargs -P 2 -I PYTHON sh -c ' \
	  venv=.venv-$$(PYTHON -c "import sys; print(sys.version[:4])"); \
	  $(MAKE) --no-print-directory VENV=$$venv PYTHON=PYTHON test-only >$$venv.log 2>&1; \
	  status=$$?; cat $$venv.log; rm $$venv.log; exit $$status'

test-only: $(TESTED) tests/servers/node/node_modules/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not (hypothesis or storm or once)"

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
storm: $(READY) tests/servers/node/node_modules/.ready
	$(BIN)/python tests/reconnect/storm.py $(STORM)
	$(BIN)/python tests/reconnect/storm.py --mutations 10000 --faults 150 $(STORM)

# What the demo needs is a part of what the tests need, and much smaller.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip
	$(PIP) -e '.[demo,deflate]'
	@touch $@

$(TESTED): $(VENV)/.demo
	$(PIP) --group tests
	@touch $@

# Not for the further Pythons: the checks are the same on each.
$(READY): $(TESTED)
	$(PIP) --group dev
	@touch $@

# The reference servers of both protocols. Without Node the tests that need them say so and are
# skipped, and fail where CI=true.
tests/servers/node/node_modules/.ready: tests/servers/node/package.json
	@if command -v npm >/dev/null; then \
	  cd tests/servers/node && npm install --no-audit --no-fund --loglevel=error && touch node_modules/.ready; \
	else echo "npm is not here: no tests against the Node reference servers"; fi

clean:
	rm -rf .venv* benchmarks/.peers tests/servers/node/node_modules .coverage* .mypy_cache .ruff_cache .pytest_cache
