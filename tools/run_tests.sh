#!/usr/bin/env bash
# Runs the tests; with --full all of them, including those on real images if COCO_ROOT and CIFAR_ROOT
# are set. Other arguments go to pytest: tools/run_tests.sh tests/trunks -k dla
# PYTHON=/path/to/python uses a ready environment.
set -euo pipefail
VERBOSE='' STEPS='' MODULES='pytest xdist shapely'
source "$(dirname "$0")/environment.sh"
if [ "${1:-}" = --full ]; then
    shift
    set -- -m '' "$@"
fi
# one thread a worker; spinning threads would take the core from the other worker
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
"$PYTHON" -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"
