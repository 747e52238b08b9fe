# make demo: set up, train, show the tail table.   make test: set up, then the whole test suite.
# make test-long: tens of minutes more.
# make bench: our path beside RecBole's, about half an hour on two cores.   make bench ARGS=--quick: a few minutes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The newest torch that the suite was run with. Any from 2.6 on will do: make TORCH=torch==2.6.0 venv
TORCH ?= torch==2.13.0
# Any versions that pyproject.toml allows, or those of a file: make CONSTRAINTS=constraints/newest.txt venv
CONSTRAINTS ?=
JOBS ?= 2
# Two processes beside each other must not both use all cores.
export OMP_NUM_THREADS ?= 1
OLDEST := .oldest

KILLS ?= 3

.PHONY: demo bench test test-newest test-oldest test-long venv lint typing wheel constraints clean

demo: venv
	OMP_NUM_THREADS=2 $(BIN)/python run_recbole_lpo.py --model=LPOSASRec --dataset=ml-100k --preset=log_prob --learning_rate=0.002 --stopping_step=2

# All cores: what it starts sets its own number of threads (ARGS=--threads=1).
bench: venv
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks --table

test: test-newest test-oldest

test-newest: venv
	$(BIN)/python -m pytest -n $(JOBS)

# The same on the oldest numpy, scipy, pandas and scikit-learn that pyproject.toml allows, but for what is slow and they
# have no part in.
test-oldest: venv
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then \
		echo "numpy 1.26 has no build for this Python: the row of the oldest libraries is skipped"; \
	else \
		$(MAKE) $(OLDEST)/.done && PYTHONPATH=$(CURDIR)/$(OLDEST) $(BIN)/python -m pytest -n $(JOBS) -m 'not long and not once'; \
	fi

# Thousands of broken files and settings, and real processes of eight kinds of run killed 2 * KILLS times each, at random
# moments and in the middle of a write.
test-long: venv
	$(BIN)/python -m pytest -n $(JOBS) -m long
	RECBOLE_LPO_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/test_kills.py

venv: $(VENV)/.done

# torch comes first and by itself: where a build of it is at hand, nothing later replaces it. RecBole comes without the
# ray that it pins, which has no wheel for Python 3.12 and newer and is not needed.
$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-deps recbole==1.2.1
	$(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS)) -e ".[dev]"
	touch $@

$(OLDEST)/.done: constraints/oldest.txt $(VENV)/.done
	rm -rf $(OLDEST)
	$(BIN)/python -m pip install --quiet --no-deps --only-binary=:all: --target $(OLDEST) -r constraints/oldest.txt
	touch $@

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typing: venv
	$(BIN)/mypy

# Writes down what is installed, for `pip install -c constraints/newest.txt`: the newest row that the suite was run with.
constraints: venv
	$(BIN)/python -m constraints > constraints/.newest.txt && mv constraints/.newest.txt constraints/newest.txt

wheel: venv
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info
