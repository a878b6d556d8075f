#!/bin/sh
# install.sh PYTHON ARGUMENT...: `pip install` into the environment of PYTHON, by uv, which takes a tenth of
# pip's time, or by pip if uv does not succeed. uv does not read pip's settings, so it is given where pip
# looks for packages.
set -eu
python=$1
shift

setting() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }

export UV_INDEX_STRATEGY=unsafe-best-match UV_LINK_MODE=hardlink
export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$(setting index-url)}"
export UV_INDEX="${UV_INDEX:-$(setting extra-index-url)}"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(setting find-links)}}"
export UV_CONSTRAINT="${UV_CONSTRAINT:-${PIP_CONSTRAINT:-$(setting constraint)}}"
for name in UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS UV_CONSTRAINT; do
    eval "[ -n \"\$$name\" ]" || unset "$name"
done

.venv/bin/uv pip install -q --python "$python" "$@" || "$python" -m pip install -q "$@"
