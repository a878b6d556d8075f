#!/bin/sh
# Make the environments of the libraries that minilmx is compared with, each from its
# requirements/NAME.txt: all of them, or those named. One that is there already is made again only
# where its requirements or the Python have changed.
#
#     [PYTHON=python3.11] benchmarks/environments.sh [NAME...]
set -eu

python=${PYTHON:-python3}
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(cd requirements && ls | sed -n 's/\.txt$//p')

for name in "$@"; do
    folder=.environments/$name
    wanted=$("$python" --version; cat "requirements/$name.txt")
    [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || continue
    echo "making the environment $name"
    rm -rf "$folder"
    "$python" -m venv "$folder"
    (cd .. && tests/install.sh "benchmarks/$folder/bin/python" -r "benchmarks/requirements/$name.txt")
    # optimum-intel wants it; nothing here uses it, and its CUDA build breaks a CPU build of torch.
    "$folder/bin/python" -m pip uninstall -q -q -y torchvision
    echo "$wanted" >"$folder/installed"
done
