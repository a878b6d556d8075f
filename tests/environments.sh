#!/bin/sh
# Make the environments that tests want beside .venv: one with only the base dependencies for each
# Python named (for the wheel), .venv-3.8 with numpy 1 (for a card's side without minilmx), and
# .venv-groqflow with real GroqFlow 4.3.1, made by our own command, and .venv-servers with LitServe and
# .venv-mlserver with MLServer over .venv (for servers of OpenAI's and KServe's protocols that are not
# ours). A Python that is not found is named and left out; with REQUIRE set it is an error.
set -eu

# Beside the Python that runs us is where pyenv keeps the others, whatever HOME is.
beside=$(.venv/bin/python -c 'import pathlib, sys; print(pathlib.Path(sys.base_prefix).parent)')

find_python() {
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python "$beside/$1".*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "no Python $1 found on PATH or under pyenv" >&2
    [ -z "${REQUIRE:-}" ]
}

# make_environment VERSION REQUIREMENT...: once, and again where the requirements changed.
make_environment() {
    version=$1
    shift
    folder=.venv-$version
    if [ "$(cat "$folder/installed" 2>/dev/null)" = "$*" ]; then
        return
    fi
    python=$(find_python "$version")
    [ -n "$python" ] || return 0
    rm -rf "$folder"
    "$python" -m venv --without-pip "$folder"
    tests/install.sh "$folder/bin/python" "$@"
    echo "$*" >"$folder/installed"
}

base=$(.venv/bin/python -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*(dependency.replace(" ", "") for dependency in project["dependencies"]))')
for version in "$@"; do
    # shellcheck disable=SC2086 # the list is meant to fall into words
    make_environment "$version" -c constraints.txt $base pytest pytest-timeout hypothesis pyarrow
done
# A Python that only a card's runtime wants: numpy 1, and onnxruntime for the stand-in of the runtime.
make_environment 3.8 numpy==1.24.4 onnxruntime==1.19.2
.venv/bin/mlx groq setup --size lean --prefix .venv-groqflow >/dev/null || [ -z "${REQUIRE:-}" ]

# make_server_environment FOLDER REQUIREMENT...: over .venv, which is behind on the path.
make_server_environment() {
    folder=$1
    shift
    if [ "$(cat "$folder/installed" 2>/dev/null)" = "$*" ]; then
        return
    fi
    rm -rf "$folder"
    .venv/bin/python -m venv --without-pip "$folder"
    tests/install.sh "$folder/bin/python" "$@"
    site='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv/bin/python -c "$site" >"$("$folder/bin/python" -c "$site")/minilmx.pth"
    echo "$*" >"$folder/installed"
}

make_server_environment .venv-servers -c constraints.txt litserve==0.2.19
# shellcheck disable=SC2046 # the list is meant to fall into words
make_server_environment .venv-mlserver $(grep -v '^#' tests/embedders/mlserver-requirements.txt)
