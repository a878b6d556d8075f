#!/bin/sh
# wheel.sh VERSION...: build the sdist and the wheel, check both, and test the wheel on each Python,
# in .venv-VERSION: only the base dependencies, in a folder from which the sources cannot be seen.
#
# These are the tests of what a wheel can break: files and entry points that did not go into it, and
# code that needs an extra or another Python. All else behaves as in the checkout, which the
# whole suite has tested already.
set -eu
TESTS="tests/test_modules.py tests/test_public.py tests/test_readme.py tests/cli/test_base_install.py
    tests/cli/test_help.py tests/cli/test_inspect.py tests/models/test_source.py tests/eval/consumers/test_snippets.py
    tests/eval/datasets tests/eval/reports/test_reports.py tests/runners/test_plugins.py"
# What another Python can break: not run on that of the checkout, on which the whole suite runs.
OTHER_PYTHON="tests/cli/test_bench.py tests/cli/test_run.py tests/cli/test_eval.py
    tests/cli/test_report_command.py tests/export/test_output.py"

if [ "$1" != --in ]; then
    rm -rf build/wheel build/lib build/bdist.*
    mkdir -p build/wheel
    .venv/bin/python -m build --no-isolation --outdir build/wheel . >build/wheel/log.txt 2>&1 ||
        { cat build/wheel/log.txt; exit 1; }
    .venv/bin/python -m twine check --strict build/wheel/*.whl build/wheel/*.tar.gz
    (cd src && find -L minilmx -type f -not -path '*/__pycache__/*') | sort >build/wheel/sources.txt
    .venv/bin/python -m zipfile -l build/wheel/*.whl | sed -n 's/^\(minilmx\/[^ ]*\).*/\1/p' | sort |
        diff build/wheel/sources.txt - || { echo "the wheel (>) and the sources (<) differ"; exit 1; }
    for version in "$@"; do
        test -x ".venv-$version/bin/python" && echo "$version" || echo "skipped: no Python $version" >&2
    done | xargs -P 2 -I '{}' "$0" --in '{}'
    exit
fi

python=$PWD/.venv-$2/bin/python
report=$PWD/build/wheel-$2.xml
checkout=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$2" = "$checkout" ] || TESTS="$TESTS $OTHER_PYTHON"
.venv/bin/python -m pip --python "$python" install -q --no-deps --force-reinstall build/wheel/*.whl
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r tests "$scratch/tests"
cd "$scratch"
# shellcheck disable=SC2086 # the list is meant to fall into words
"$python" -m pytest -q $TESTS -m "not slow" -W ignore::pytest.PytestUnknownMarkWarning \
    -p no:cacheprovider --import-mode=importlib --junitxml="$report"
