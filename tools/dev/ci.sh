#!/usr/bin/env bash
# What continuous integration runs, in an environment of its own:
#
#     bash tools/dev/ci.sh [--stack onedl|openmmlab] [--python python3.11] [--torch 2.11.0] [STEP ...]
#
# Steps: wheel (the package built, installed and used without the clone), tests, docs, lint; all by
# default. CI_DIR=/path keeps the environment, and a second call uses it. PIP_EXTRA_INDEX_URL and the
# like are pip's own.
set -euo pipefail
cd "$(dirname "$0")/../.."
CLONE=$PWD STACK=onedl BASE=python3.11 TORCH=2.11.0
while [ $# -gt 0 ]; do
    case $1 in
        --stack) STACK=$2; shift 2 ;;
        --python) BASE=$2; shift 2 ;;
        --torch) TORCH=$2; shift 2 ;;
        wheel | tests | docs | lint) break ;;
        *) echo "error: $1 is no option and no step: see the first lines of tools/dev/ci.sh." >&2; exit 1 ;;
    esac
done
[ $# -gt 0 ] || set -- wheel tests docs lint
DIR=${CI_DIR:-$(mktemp -d)}
[ -n "${CI_DIR:-}" ] || trap 'rm -rf "$DIR"' EXIT
mkdir -p "$DIR"
PYTHON=$DIR/venv/bin/python
pip() { "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@"; }

environment() {
    [ ! -e "$DIR/ready" ] || return 0
    "$BASE" -m venv "$DIR/venv"
    local minor=${TORCH#2.}
    pip "torch==$TORCH" "torchvision==0.$((${minor%%.*} + 15)).*" # 0.26 goes with torch 2.11
    build_wheel
    pip "$(echo "$DIR"/dist/mmdla-*.whl)[$STACK,timm,tests]"
    touch "$DIR/ready"
}

build_wheel() {
    rm -rf "$DIR/dist" "$DIR/source"
    git clone --quiet "$CLONE" "$DIR/source" # of what is committed, so that no build folder stays behind
    "$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$DIR/dist" "$DIR/source"
}

wheel() {
    build_wheel
    pip --force-reinstall --no-deps "$DIR"/dist/mmdla-*.whl
    mkdir -p "$DIR/elsewhere"
    (cd "$DIR/elsewhere" && "$PYTHON" "$CLONE/tools/dev/check_installed.py")
    echo 'import sys; print(sys.argv[1], "mmdla" in sys.modules)' >"$DIR/elsewhere/script.py"
    [ "$("$DIR/venv/bin/mmdla" "$DIR/elsewhere/script.py" a)" = 'a True' ]
}

tests() {
    PYTHON=$PYTHON bash tools/run_tests.sh
}

docs() {
    pip -r requirements/docs.txt
    "$PYTHON" -m mkdocs build --strict --site-dir "$DIR/site"
}

lint() {
    pip -r requirements/lint.txt
    "$PYTHON" -m ruff check .
}

environment
for step; do
    echo "== $step ($STACK, $BASE, torch $TORCH)"
    "$step"
done
