#!/bin/sh
# Make the environment in which tests/examples runs the examples: .venv-examples, with minilmx, its
# base dependencies, and what requirements.txt pins beside them.
set -eu

python=${EXAMPLES_PYTHON:-.venv/bin/python}

[ -x .venv-examples/bin/python ] || "$python" -m venv --without-pip .venv-examples
tests/install.sh .venv-examples/bin/python -c constraints.txt -r tests/examples/requirements.txt -e .
