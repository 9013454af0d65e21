# The course's commands. The first one makes a virtual environment in .venv and installs the course into it; all others
# use it. To use an environment of your own, name it: make course VENV=/path/to/it (with conda: VENV=$$CONDA_PREFIX).

VENV ?= .venv
PYTHON ?= python3
JOBS ?= 2

RUN := $(VENV)/bin/python
READY := $(VENV)/.course-installed
# Two notebooks side by side on two cores: one thread each, and the same sums on every machine
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help course test lab site notebooks lint format bench browser clean

help:
	@echo "make course      run every lesson; leaves notebooks, a report and a leaderboard in build/course"
	@echo "make test        run every test, and every notebook against its committed outputs"
	@echo "make lab         open JupyterLab at the first lesson"
	@echo "make site        the committed lessons as web pages in build/site"
	@echo "make notebooks   run the committed notebooks again and rewrite their outputs"
	@echo "make lint        check code and notebooks with ruff;  make format  rewrites them"
	@echo "make bench       run the benchmarks"
	@echo "make clean       remove what the commands above left, except the environment"

course: $(READY)
	$(RUN) -m course_lib course --jobs $(JOBS)

test: lint browser
	$(THREADS) $(RUN) -m pytest tests -n $(JOBS) --dist loadgroup -p no:benchmark
	$(THREADS) $(RUN) -m pytest notebooks --nbval --nbval-current-env --nbval-cell-timeout=300 \
	  --nbval-sanitize-with=tests/nbval_sanitize.cfg -n $(JOBS) --dist loadscope -p no:benchmark

lab: $(READY)
	$(RUN) -m jupyter lab notebooks/00_start_here.ipynb

site: $(READY)
	$(RUN) -m course_lib site

notebooks: $(READY)
	$(RUN) -m course_lib notebooks --jobs $(JOBS)

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(READY)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(READY)
	$(RUN) -m pytest tests/benchmarks -s

# The browser test needs Chromium. On a CI machine that may install it, install it; elsewhere the test says it skips.
browser:
	@if [ "$$CI" = true ] && [ -z "$$CHROMIUM" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null \
	  && ! command -v google-chrome >/dev/null; then \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -q -y --no-install-recommends -o Acquire::Retries=3 chromium; \
	fi

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@test -x $(RUN) || command -v $(PYTHON) >/dev/null || \
	  { echo "The course needs Python 3.11 or newer, and there is no $(PYTHON) here."; exit 1; }
	@test -x $(RUN) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The course needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version)." \
	         "Name a newer one, for example: make PYTHON=python3.12"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(RUN) -m pip install --editable '.[test]'
	@touch $(READY)
