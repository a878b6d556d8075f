#!/bin/sh
# Make the environments in which tests/runners/test_devices.py runs on devices: .venv-devices (plug-ins
# beside .venv's onnxruntime) and .venv-devices-build (another build of onnxruntime). Each once, and again
# where its requirements changed.
set -eu

# make_environment FOLDER REQUIREMENTS: what is not pinned there comes from .venv, which is behind on the path.
make_environment() {
    requirements=tests/runners/requirements/$2
    cmp -s "$1/requirements.txt" "$requirements" && return
    rm -rf "$1"
    .venv/bin/python -m venv --without-pip "$1"
    tests/install.sh "$1/bin/python" --no-deps -r "$requirements"
    site='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv/bin/python -c "$site" >"$("$1/bin/python" -c "$site")/venv.pth"
    cp "$requirements" "$1/requirements.txt"
}

make_environment .venv-devices plugins.txt
make_environment .venv-devices-build build.txt
