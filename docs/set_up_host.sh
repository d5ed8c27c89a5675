#!/bin/sh
# Installs jaxnets for TPUs in .venv of the current folder. Run it on every host, in the root of the source tree.
#
# Some TPU images have Python 3.10, and jaxnets needs 3.11 or newer. With such a Python, uv installs Python 3.12 in the
# home folder and nothing in the system. Optional variables: PYTHON (python3), EXTRAS (train,tpu).
set -eu

python="${PYTHON:-python3}"
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    "$python" -m venv .venv
else
    echo "set_up_host: $("$python" --version) is older than 3.11; uv installs Python 3.12" >&2
    "$python" -m pip install --quiet --user uv
    "$python" -m uv venv --seed --python 3.12 .venv
fi
.venv/bin/python -m pip install --quiet ".[${EXTRAS:-train,tpu}]"
.venv/bin/python -c 'import jax, sys; print(f"set_up_host: Python {sys.version.split()[0]}, JAX {jax.__version__}")'
