#!/bin/sh
# install.sh PYTHON [--compile] ARGUMENT...: `pip install` into the environment of PYTHON, by uv, which takes a
# tenth of pip's time, or by .venv's pip if uv does not succeed. uv does not read pip's settings, so it is given
# where pip looks for packages. With --compile, Python's files are compiled, for environments that are only read.
set -eu
python=$1
shift
uv_compiles= pip_compiles=--no-compile
if [ "$1" = --compile ]; then
    uv_compiles=--compile-bytecode pip_compiles=--compile
    shift
fi

setting() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }

export UV_INDEX_STRATEGY=unsafe-best-match  # as pip's
export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(setting index-url)}}"
export UV_INDEX="${UV_INDEX:-${PIP_EXTRA_INDEX_URL:-$(setting extra-index-url)}}"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(setting find-links)}}"
export UV_CONSTRAINT="${UV_CONSTRAINT:-${PIP_CONSTRAINT:-$(setting constraint)}}"
for name in UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS UV_CONSTRAINT; do
    eval "[ -n \"\$$name\" ]" || unset "$name"
done

# shellcheck disable=SC2086 # no word, or one
.venv/bin/uv pip install -q $uv_compiles --python "$python" "$@" ||
    .venv/bin/python -m pip --python "$python" install -q $pip_compiles "$@"
