#!/usr/bin/env bash
# Runs the whole test suite (or, with arguments, what they tell pytest to).
# PYTHON=/path/to/python uses a ready environment.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
"$PYTHON" -m pytest tests "$@"
