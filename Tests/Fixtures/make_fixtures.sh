#!/bin/sh
# Writes the fixtures anew, each folder with the version of PyTorch in its name.
#
# usage: make_fixtures.sh SCRATCH [VERSION ...]
#
# Every version gets a virtual environment of its own under SCRATCH (some 5 GB each: wheels from PyPI come with CUDA)
# and is kept there. Needs a Python that all of them have wheels for: 3.11, or what PYTHON names.
set -eu

scratch=${1:?usage: make_fixtures.sh SCRATCH [VERSION ...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
newest=2.15.0
[ $# -gt 0 ] || set -- 1.13.1 2.4.1 2.13.0 "$newest"

for version in "$@"; do
  environment=$scratch/torch-$version
  python=$environment/bin/python
  # Built for the first NumPy.
  case $version in 1.* | 2.[0-2].*) numpy='numpy<2' ;; *) numpy=numpy ;; esac
  if [ ! -x "$python" ]; then
    "${PYTHON:-python3}" -m venv "$environment"
  fi
  "$python" -c "import torch, numpy, safetensors" 2>/dev/null ||
    "$python" -m pip install --quiet "torch==$version" "$numpy" safetensors
  folder=$here/torch-${version%.*}
  rm -rf "$folder"
  "$python" "$here/make_fixtures.py" "$folder" torch
  if [ "$version" = "$newest" ]; then
    rm -rf "$here/formats"
    "$python" "$here/make_fixtures.py" "$here/formats" formats
  fi
done
