# Sourced by quickstart.sh and run_tests.sh: sets PYTHON, makes .venv for it unless PYTHON is given,
# and builds the CPU kernels. What was broken off is taken up again, or starts clean.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
LOGS=work_dirs/logs
mkdir -p $LOGS
STEP=0
trap 'echo; echo "stopped: start it again and it goes on" >&2; exit 130' INT

fail() {  # MESSAGE
    echo "error: $*" >&2
    exit 1
}

begin() {  # WHAT: the first half of a step's line
    STEP=$((STEP + 1)) BEGAN=$SECONDS
    printf '[%d%s] %s ... ' $STEP "${STEPS:+/$STEPS}" "$*"
}

clock() {  # SECONDS
    printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

end() {  # [NOTE]: the second half
    echo "${*:-$(clock $((SECONDS - BEGAN)))}"
}

quietly() {  # NAME COMMAND...: with its output in a log
    local log=$LOGS/$1.log status
    shift
    set +e
    if [ -n "${VERBOSE:-}" ]; then
        echo
        (set -e; "$@") 2>&1 | tee "$log"
        status=${PIPESTATUS[0]}
    elif [ -n "${SHOW:-}" ]; then
        (set -e; "$@") 2>"$log"
        status=$?
    else
        (set -e; "$@") >"$log" 2>&1
        status=$?
    fi
    set -e
    [ "$status" = 0 ] && return
    [ "$status" = 130 ] && kill -INT $$
    echo failed
    grep '^error: ' "$log" >&2 || tail -n 20 "$log" >&2
    fail "this step failed, see $ROOT/$log"
}

visibly() {  # NAME COMMAND...: with errors and warnings alone in a log
    echo
    SHOW=1 quietly "$@"
}

find_python() {
    for BASE in python3.11 python3 python; do
        "$BASE" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && return
    done
    fail 'Python 3.10 or newer is needed and not found: install it, or run with' \
        'PYTHON=/path/to/python of a ready environment.'
}

install() {
    if [ ! -e .venv/installed ]; then
        rm -rf .venv
        mkdir .venv
        touch .venv/installing
        "$BASE" -m venv .venv || fail "$BASE cannot make an environment (above): install its venv" \
            'module (apt install python3-venv), or run with PYTHON=/path/to/python of a ready one.'
    else
        mv .venv/installed .venv/installing
    fi
    "$PYTHON" -m pip install --disable-pip-version-check torch==2.11.0 torchvision==0.26.0
    "$PYTHON" -m pip install --disable-pip-version-check -e '.[onedl,tests]'
    mv .venv/installing .venv/installed
}

if [ -n "${PYTHON:-}" ]; then
    begin 'environment'
    "$PYTHON" -c '' 2>/dev/null || fail "PYTHON=$PYTHON does not run: give the path of a Python."
    export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
    end "$PYTHON"
else
    PYTHON=$ROOT/.venv/bin/python
    # two scripts that are started at once do not install at once
    if command -v flock >/dev/null; then
        exec 9>$LOGS/install.lock
        flock 9
    fi
    if [ -e .venv/installed ] && [ -z "$(find requirements setup.py -newer .venv/installed)" ]; then
        begin 'environment in .venv'
        end ready
    else
        find_python
        if [ -e .venv ] && [ ! -e .venv/installing ] && [ ! -e .venv/installed ]; then
            fail '.venv is there and was not made by this script: remove it, or run with' \
                'PYTHON=.venv/bin/python to use it as it is.'
        fi
        begin 'environment: installing to .venv, mostly download (2 to 3 minutes)'
        quietly install install
        end
    fi
    exec 9>&-
fi
export PYTHON

begin 'CPU kernels of layer attention (half a minute, once)'
if BUILT=$("$PYTHON" -m mmdla.ops.build 2>&1 | tail -n 1); then
    case $BUILT in
        *' is there') end 'built before' ;;
        *) end "built, $(clock $((SECONDS - BEGAN)))" ;;
    esac
else
    end "${BUILT#error: the CPU kernels are }"
fi
