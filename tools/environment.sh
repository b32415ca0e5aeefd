# Sourced by quickstart.sh and run_tests.sh: sets PYTHON, makes .venv for it unless PYTHON is given,
# and builds the CPU kernels. An interrupted installation starts clean.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${PYTHON:-} in
    '' | /*) ;;
    */*) PYTHON=$PWD/$PYTHON ;;
esac
cd "$ROOT"
LOGS=work_dirs/logs
mkdir -p $LOGS
STEP=0 SHOW=''
trap 'echo; echo "stopped" >&2; exit 130' INT

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
    if [ -n "$VERBOSE" ]; then
        echo
        (set -e; "$@") 2>&1 | tee "$log"
        status=${PIPESTATUS[0]}
    elif [ -n "$SHOW" ]; then
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

visibly() {  # NAME COMMAND...: with only errors and warnings going to the log
    echo
    SHOW=1
    quietly "$@"
    SHOW=''
    echo "      $(clock $((SECONDS - BEGAN)))"
}

lock() {  # DESCRIPTOR MODE: Python's, since macOS has no flock; done where a file system has no locks
    "$BASE" -c 'import fcntl, sys
try:
    fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | (fcntl.LOCK_NB if sys.argv[2] == "now" else 0))
except BlockingIOError:
    sys.exit(1)
except OSError:
    pass' "$1" "$2"
}

find_python() {
    for BASE in python3.11 python3.12 python3.10 python3.13 python3 python; do
        "$BASE" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && return
    done
    fail 'Python 3.10 or newer is needed and not found: install it, or run with' \
        'PYTHON=/path/to/python of a ready environment.'
}

check_modules() {  # of an environment that was given
    "$PYTHON" - torch torchvision mmengine mmcv mmdet mmpretrain pycocotools rich safetensors "$@" <<'END' || exit 1
import importlib.util
import sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f'error: PYTHON={sys.executable} lacks {", ".join(missing)}: install them (see "Install" in '
             'the README), or run without PYTHON, which makes an environment in .venv.')
END
}

install() {
    if [ ! -e .venv/installed ]; then
        touch $LOGS/installing
        rm -rf .venv
        "$BASE" -m venv .venv || fail "$BASE cannot make an environment: install its venv module (apt" \
            'install python3-venv), or run with PYTHON=/path/to/python of a ready one.'
    else
        touch $LOGS/installing
        rm .venv/installed
    fi
    "$PYTHON" -m pip install --disable-pip-version-check torch==2.11.0 torchvision==0.26.0
    "$PYTHON" -m pip install --disable-pip-version-check -e '.[onedl,tests]'
    touch .venv/installed
    rm $LOGS/installing
}

if [ -n "${PYTHON:-}" ]; then
    begin 'environment'
    "$PYTHON" -c '' 2>/dev/null || fail "PYTHON=$PYTHON does not run: give the path of a Python."
    check_modules ${MODULES:-}
    export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
    BASE=$PYTHON IN_SHELL=$PYTHON
    end "$PYTHON"
else
    PYTHON=$ROOT/.venv/bin/python IN_SHELL='.venv/bin/python'
    find_python
    begin 'environment in .venv'
    exec 9>$LOGS/installing.lock
    if ! lock 9 now; then
        printf 'waiting for another installation ... '
        lock 9 wait
    fi
    if [ -e .venv/installed ] && [ -z "$(find requirements setup.py -newer .venv/installed)" ]; then
        rm -f $LOGS/installing
        end ready
    else
        if [ -e .venv ] && [ ! -e .venv/installed ] && [ ! -e $LOGS/installing ]; then
            fail '.venv is there and was not made by this script: remove it, or run with' \
                'PYTHON=.venv/bin/python to use it as it is.'
        fi
        printf 'installing, mostly download (2 to 3 minutes) ... '
        quietly install install
        end
    fi
    exec 9>&-
fi
export PYTHON

begin 'CPU kernels of layer attention (a minute, once)'
if BUILT=$("$PYTHON" -m mmdla.ops.build 2>&1 | tail -n 1); then
    case $BUILT in
        *' is there') end 'built before' ;;
        *) end "built, $(clock $((SECONDS - BEGAN)))" ;;
    esac
else
    end "${BUILT#error: the CPU kernels are }"
fi
