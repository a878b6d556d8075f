# Two commands do all the set-up: `make demo` shows the main job, `make test` runs the tests, the
# linters and the type checks. Both need python3 (3.11 to 3.13, with venv and pip) and a package
# index.

PYTHON ?= python3
DEMO := demo/all-MiniLM-L6-v2-b1-s128
WHEEL_PYTHONS := 3.10 3.11 3.13
# Run a command unless it has passed on this very tree (with -B: in any case).
ONCE = .venv/bin/python tests/once.py $(if $(findstring B,$(firstword -$(MAKEFLAGS))),--again)
INSTALL = tests/install.sh .venv/bin/python
# One worker more than there are CPUs, as many tests wait for a process; at most 8, of about 1 GB each.
WORKERS = $(shell .venv/bin/python -c 'from minilmx.cpus import available_cpus as n; print(min(n() + 1, 8))')
PYTEST = .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal
# One OpenMP thread per worker: several workers' threads that wait for each other on two cores take far longer.
TEST_ENV = OMP_NUM_THREADS=1 MINILMX_GROQFLOW_PYTHON=$(wildcard $(CURDIR)/.venv-groqflow/bin/python)

# `make test` makes its environments in parallel, because pip uses one core. `make demo test` does not:
# both goals install into .venv.
ifeq ($(MAKECMDGOALS),test)
MAKEFLAGS += --jobs=3
endif

# The tests start Python a few thousand times: without bytecode files, each compiles PyTorch's sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test wheel lint slow-tests fuzz bench clean
.DELETE_ON_ERROR:

demo: .venv/demo-installed
	.venv/bin/mlx export all-MiniLM-L6-v2 --pack 16 --output $(DEMO)
	.venv/bin/mlx eval $(DEMO) --runner torch --runner onnxruntime --runner groq-emulator \
		--output demo/result.json --force
	.venv/bin/mlx report demo/result.json --output demo/report.html --force
	@echo "artifact: $(DEMO)"
	@echo "report:   demo/report.html (made from demo/result.json)"

# What passed on this tree is not run again until a file changes (tests/once.py): `make -B test` does.
# With CI set, the slow tests run too, and a missing Python is an error.
test: lint wheel $(if $(CI),.venv/consumers .venv/examples .venv/devices)
	@$(TEST_ENV) $(ONCE) $(if $(CI),all-tests $(PYTEST),tests $(PYTEST) -m "not slow") \
		--junitxml build/$(if $(CI),all-)tests.xml
	@echo "all passed$(if $(CI),, (the slow tests are left out: make slow-tests)):"
	@.venv/bin/python tests/once.py

wheel: .venv/environments
	@$(ONCE) wheel tests/wheel.sh $(WHEEL_PYTHONS)

lint: .venv/test-installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/typos
	.venv/bin/mypy

slow-tests: .venv/test-installed .venv/environments .venv/consumers .venv/examples .venv/devices
	$(TEST_ENV) $(PYTEST) -m slow

# Files that are changed at random, for every reader: N cases each. A seed repeats its cases.
N ?= 1000
SEED ?= $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
fuzz: .venv/test-installed
	FUZZ_N=$(N) FUZZ_SEED=$(SEED) $(TEST_ENV) $(PYTEST) tests/fuzz -rP

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -c constraints.txt "pip>=25.1" uv

.venv/demo-installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e '.[export,bundled]'
	@touch $@

.venv/test-installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e '.[all]' --group dev
	@touch $@

# Other Pythons that some tests want. Where one is not found, its tests say so and are skipped.
.venv/environments: tests/environments.sh .venv/test-installed
	@REQUIRE=$(CI) tests/environments.sh $(WHEEL_PYTHONS)
	@touch $@

# The libraries that the artifact is checked in, at pinned versions.
.venv/consumers: tests/consumers/environments.sh $(wildcard tests/consumers/requirements/*) .venv/bin/python
	@REQUIRE=$(CI) tests/consumers/environments.sh
	@touch $@

# onnxruntime's plug-ins and builds for devices, at pinned versions.
.venv/devices: tests/runners/environments.sh $(wildcard tests/runners/requirements/*) .venv/test-installed
	@tests/runners/environments.sh
	@touch $@

# The vector stores that the examples fill, at pinned versions.
.venv/examples: tests/examples/environments.sh tests/examples/requirements.txt .venv/test-installed
	@tests/examples/environments.sh
	@touch $@

# Side by side with the libraries that people use now: half an hour on a quiet machine. The table
# that it prints is the one in docs/performance.md.
bench: .venv/demo-installed
	$(INSTALL) -c constraints.txt -e '.[export,openvino,bundled]'
	PYTHON=.venv/bin/python benchmarks/environments.sh
	.venv/bin/python benchmarks/compare.py

clean:
	rm -rf benchmarks/.environments benchmarks/.scratch
	rm -rf .venv .venv-* build dist demo src/*.egg-info
