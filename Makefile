# `make book` and `make test` do everything from a fresh copy: they set up .venv, run the lessons once, and go on.
# Needs Python 3.11 or newer, make and git. To choose the interpreter: make setup PYTHON=python3.12

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
export OMP_NUM_THREADS ?= 1

.PHONY: setup execute records format lint book test serve bench clean
.DEFAULT_GOAL := book

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "robustcourse needs Python 3.11 or newer; found: $$("$(or $(PYTHON),python3)" --version 2>&1)."; \
		echo "Choose another one with: make setup PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up .venv (some minutes the first time)"
	@test -x $(RUN) || "$(PYTHON)" -m venv .venv
# uv is faster but reads none of pip's settings: where pip has been told where packages lie, pip does it.
	@if command -v uv >/dev/null && ! $(RUN) -m pip config list | grep -Eq 'index|find-links'; \
	then uv pip install -q --python $(RUN) -c constraints.txt -e '.[dev]'; \
	else $(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'; fi
	@touch $@

execute: setup
	@$(RUN) -m tools.execute

# The records that are published are those of the lesson size or larger.
records: execute
	@test "$$ROBUSTCOURSE_SCALE" != smoke || { echo "ROBUSTCOURSE_SCALE=smoke is for tests only"; exit 1; }
	@mkdir -p records && cp _build/records/*.json records/

format: setup
	@$(RUN) -m ruff check -q --fix .
	@$(RUN) -m ruff format -q .
	@$(RUN) -m tools.format

lint: setup
	@$(RUN) -m ruff check -q .
	@$(RUN) -m ruff format -q --check .
	@$(RUN) -m tools.format --check
	@$(RUN) -m mypy

# Sphinx repeats no warning for a page that it does not read again: after a failure, the next build starts afresh.
book: execute
	@.venv/bin/jupyter-book build . -q -W -n --keep-going >/dev/null || { rm -rf _build/.doctrees _build/html; exit 1; }
	@echo "The book: _build/html/index.html"

# Two at a time, file by file, since what the tests of one file share is made once; in their order, with no long file at
# the end.
test: lint book
	@$(RUN) -m pytest -q -rs -n 2 --dist loadfile --no-loadscope-reorder -p tools.replay --nbval-lax tests lessons

serve: book
	@$(RUN) -m http.server --directory _build/html

bench: setup
	@for file in benchmarks/*.py; do $(RUN) $$file || exit 1; done

clean:
	rm -rf _build
