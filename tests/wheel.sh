#!/bin/sh
# wheel.sh ENVIRONMENT WHEEL: install the wheel and run the tests that need no repository files,
# in a folder from which the sources cannot be seen.
set -eu
environment=$(cd "$1" && pwd)
"$environment/bin/python" -m pip install -q --no-deps --force-reinstall "$2"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r tests "$scratch/tests"
rm -rf "$scratch/tests/repository"
cd "$scratch"
"$environment/bin/python" -m pytest -q tests -m "not slow" -W ignore::pytest.PytestUnknownMarkWarning \
    -p no:cacheprovider --import-mode=importlib
