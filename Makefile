# Two commands do all the set-up: `make demo` shows the main job, `make test` runs the tests, the
# linters and the type checks. Both need python3 (3.11 to 3.13, with venv and pip) and a package
# index.

PYTHON ?= python3
DEMO := demo/all-MiniLM-L6-v2-b1-s128
WHEEL_PYTHONS := 3.11 3.13
SOURCES := $(shell find models export runners eval src tests benchmarks examples -type f \
	-not -path '*/__pycache__/*' -not -path 'benchmarks/.*') \
	pyproject.toml constraints.txt README.md CONTRIBUTING.md Makefile $(wildcard docs/*)
GROQFLOW = MINILMX_GROQFLOW_PYTHON=$(wildcard $(CURDIR)/.venv-groqflow/bin/python)

.PHONY: demo test lint slow-tests bench clean
.DELETE_ON_ERROR:

demo: .venv/demo-installed
	.venv/bin/mlx export all-MiniLM-L6-v2 --output $(DEMO)
	.venv/bin/mlx eval $(DEMO) --runner torch --runner onnxruntime --runner groq-emulator \
		--output demo/result.json --force
	.venv/bin/mlx report demo/result.json --output demo/report.html --force
	@echo "artifact: $(DEMO)"
	@echo "report:   demo/report.html (made from demo/result.json)"

# Tests that passed are not run again until a file has changed: `make -B test` runs them all the
# same. Where CI is set, the slow ones run, too, and a missing Python is an error.
test: lint .venv/tests-passed .venv/wheel-tests-passed $(if $(CI),slow-tests)
	@echo "all passed$(if $(CI),, (slow tests left out: make slow-tests))"

lint: .venv/test-installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

.venv/tests-passed: $(SOURCES) .venv/test-installed .venv/environments
	$(GROQFLOW) .venv/bin/pytest -n 2 --dist loadfile -m "not slow"
	@touch $@

slow-tests: .venv/test-installed .venv/environments .venv/consumers .venv/examples
	$(GROQFLOW) .venv/bin/pytest -n 2 --dist loadfile -m slow

# The built wheel in environments of its own, away from the sources, without the extras.
.venv/wheel-tests-passed: $(SOURCES) .venv/test-installed .venv/environments
	rm -rf build && mkdir -p build/wheel
	.venv/bin/python -m build --no-isolation --outdir build/wheel . >build/wheel/log.txt
	@for version in $(WHEEL_PYTHONS); do \
		test -x .venv-$$version/bin/python && echo .venv-$$version || echo "skipped: no Python $$version" >&2; \
	done | xargs -P 2 -I '{}' tests/wheel.sh '{}' build/wheel/*.whl
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q "pip>=25.1"

.venv/demo-installed: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[export,bundled]'
	@touch $@

.venv/test-installed: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[all]' --group dev
	@touch $@

# Other Pythons that some tests want. Where one is not found, its tests say so and are skipped.
.venv/environments: tests/environments.sh .venv/test-installed
	@REQUIRE=$(CI) tests/environments.sh $(WHEEL_PYTHONS)
	@touch $@

# The libraries that the artifact is checked in, at pinned versions.
.venv/consumers: tests/consumers/environments.sh $(wildcard tests/consumers/requirements/*) .venv/test-installed
	@REQUIRE=$(CI) tests/consumers/environments.sh
	@touch $@

# The vector stores that the examples fill, at pinned versions.
.venv/examples: tests/examples/environments.sh tests/examples/requirements.txt .venv/test-installed
	@tests/examples/environments.sh
	@touch $@

# Side by side with the libraries that people use now: half an hour on a quiet machine. The table
# that it prints is the one in docs/performance.md.
bench: .venv/demo-installed
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[export,openvino,bundled]'
	PYTHON=.venv/bin/python benchmarks/environments.sh
	.venv/bin/python benchmarks/compare.py

clean:
	rm -rf benchmarks/.environments benchmarks/.scratch
	rm -rf .venv .venv-* build dist demo src/*.egg-info
