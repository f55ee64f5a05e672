# Each target sets up what it needs, from nothing but Python and make.
#   make demo    what a small tune changed in a real model: a page, and the verdict in the terminal
#   make test    lint, types and tests
#   make lint    the same without the tests
#   make bench   the benchmarks, as ratios
#   make clean   remove what these made here (downloaded weights stay in the user's cache)

PYTHON ?= python3
WORKERS ?= 2
# For instance the address of an index that has PyTorch without CUDA; see README.md.
TORCH_INDEX ?=

BIN = .venv/bin
DEMO = examples/diff_demo
# Nothing is compiled ahead: a small part of what is installed is ever imported, and Python compiles and keeps that part.
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint style bench clean

demo: .venv/.installed
	$(BIN)/armillary diff $(DEMO)/adapter --prompts $(DEMO)/tickets.jsonl \
		--texts German=$(DEMO)/german.txt English=$(DEMO)/english.txt --out armillary-runs/demo

# Two workers with one thread each: tiny models gain nothing from more threads, and small machines lose by them.
# Files go out in their order (whole commands first), or the few long tests would come last and leave a worker idle.
# mypy has but one thread: it is one of the tests (test_faces.py), so that others run meanwhile.
test: style
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not weights and not gpu" -q

lint: style
	$(BIN)/mypy

style: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/.installed-dev
	@for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

# The pip that Python brings may be years old, and today's takes half the time. Where it can't be had, the old one does.
.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Armillary needs Python 3.11 or newer; name one, as in: make demo PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	-$(PIP) "$$(grep '^pip==' constraints.txt)"
	@touch $@

# PyTorch goes first and alone, so that its version and index are chosen by us and not by a package that needs it.
.venv/.torch: .venv/.created constraints.txt
	@echo "Installing into .venv (some minutes the first time)"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	@touch $@

.venv/.installed: .venv/.torch pyproject.toml
	$(PIP) -c constraints.txt -e '.[data,report]'
	@touch $@

# All at once, which holds what .installed asks for too.
.venv/.installed-dev: .venv/.torch pyproject.toml
	$(PIP) -c constraints.txt -e '.[data,report,dev]'
	@touch .venv/.installed $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis armillary-runs dist build
