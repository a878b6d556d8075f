# Two commands do all the set-up: `make demo` shows the main job, `make test` runs everything
# that CI runs. Both need python3 (3.11 to 3.13, with venv and pip) and a package index.

PYTHON ?= python3
DEMO := demo/all-MiniLM-L6-v2-b1-s128
WHEEL_PYTHONS := 3.11 3.13

.PHONY: demo test lint tests wheel-tests environments clean
.DELETE_ON_ERROR:

demo: .venv/demo-installed
	.venv/bin/mlx export all-MiniLM-L6-v2 --output $(DEMO)
	.venv/bin/mlx eval $(DEMO) --runner torch --runner onnxruntime --runner groq-emulator \
		--output demo/result.json --force
	@echo "artifact: $(DEMO)"
	@echo "report:   demo/result.json"

test: lint tests wheel-tests

lint: .venv/test-installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

tests: .venv/test-installed environments
	MINILMX_GROQFLOW_PYTHON=$(wildcard $(CURDIR)/.venv-groqflow/bin/python) .venv/bin/pytest

# The built wheel in environments of its own, away from the sources, without the extras.
wheel-tests: .venv/test-installed environments
	rm -rf build/wheel && mkdir -p build/wheel
	.venv/bin/python -m build --no-isolation --outdir build/wheel . >build/wheel/log.txt
	@for version in $(WHEEL_PYTHONS); do \
		test -x .venv-$$version/bin/python || { echo "skipped: no Python $$version"; continue; }; \
		tests/wheel.sh .venv-$$version build/wheel/*.whl || exit 1; \
	done

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

# Other Pythons that some tests want. Where one is not found, its tests say so and are skipped;
# CI sets REQUIRE=1, and then this fails instead.
environments: .venv/test-installed
	@tests/environments.sh $(WHEEL_PYTHONS)

clean:
	rm -rf .venv .venv-* build dist demo src/*.egg-info
