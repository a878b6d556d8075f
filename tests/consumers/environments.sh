#!/bin/sh
# Make the environments in which tests/consumers looks for other libraries: .venv-consumers (all the
# Python ones), .venv-consumers-older (earlier versions of three of them, over the first) and
# .venv-consumers-node. Each once, and again where its requirements changed. With REQUIRE set a
# missing Node is an error.
set -eu

here=tests/consumers/requirements
python=${CONSUMERS_PYTHON:-.venv/bin/python}

# fresh FOLDER REQUIREMENTS: whether the folder has still to be made from them.
fresh() {
    cmp -s "$1/requirements.txt" "$2" && return 1
    rm -rf "$1"
}

if fresh .venv-consumers $here/python.txt; then
    "$python" -m venv --without-pip .venv-consumers
    tests/install.sh .venv-consumers/bin/python --compile -r $here/python.txt
    cp $here/python.txt .venv-consumers/requirements.txt
    rm -rf .venv-consumers-older
fi

if fresh .venv-consumers-older $here/older.txt; then
    "$python" -m venv --without-pip .venv-consumers-older
    tests/install.sh .venv-consumers-older/bin/python --compile --no-deps -r $here/older.txt
    # What is not pinned there comes from the first environment, which is behind on the path.
    site='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv-consumers/bin/python -c "$site" >"$(.venv-consumers-older/bin/python -c "$site")/consumers.pth"
    cp $here/older.txt .venv-consumers-older/requirements.txt
fi

if fresh .venv-consumers-node $here/node.txt; then
    if ! command -v npm >/dev/null; then
        echo "no npm found on PATH" >&2
        [ -z "${REQUIRE:-}" ]
        exit
    fi
    mkdir .venv-consumers-node
    # onnxruntime-node's install script fetches CUDA libraries from elsewhere.
    # shellcheck disable=SC2046 # one package a word
    ONNXRUNTIME_NODE_INSTALL=skip npm install --silent --no-audit --no-fund \
        --prefix .venv-consumers-node $(cat $here/node.txt)
    cp $here/node.txt .venv-consumers-node/requirements.txt
fi
