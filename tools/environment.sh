# Sourced by quickstart.sh and run_tests.sh: sets PYTHON, and makes .venv for it unless PYTHON is
# given. Where the installation was broken off, it goes on.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

if [ -z "${PYTHON:-}" ]; then
    PYTHON=$ROOT/.venv/bin/python
    if [ -e .venv/installed ] && [ -z "$(find requirements setup.py -newer .venv/installed)" ]; then
        echo "== environment: .venv is ready"
    else
        echo "== environment: installing to .venv (about 3 minutes, most of it download)"
        BASE=$(command -v python3.11 || command -v python3 || true)
        if ! "$BASE" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "error: Python 3.10 or newer is needed and not found: install it, or run with" \
                "PYTHON=/path/to/python of a ready environment." >&2
            exit 1
        fi
        "$BASE" -m venv .venv
        "$PYTHON" -m pip install --quiet --disable-pip-version-check \
            torch==2.11.0 torchvision==0.26.0
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -e '.[onedl,tests]'
        touch .venv/installed
    fi
else
    export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHON

# the fast CPU kernels; without a compiler everything runs without them
if command -v g++ >/dev/null || command -v clang++ >/dev/null; then
    echo "== CPU kernels: a minute to build, once"
    "$PYTHON" -m mmdla.ops.build || true
fi
