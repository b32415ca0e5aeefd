#!/usr/bin/env bash
# From a fresh clone to COCO AP on generated data: installs, trains, tests and draws.
# PYTHON=/path/to/python uses a ready environment. Run again, it goes on where it was.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

CONFIG=configs/mini/faster_rcnn_dla_l18_mini.py
WORK=work_dirs/quickstart
LAST=$WORK/epoch_6.pth

step() { echo; echo "== $*"; }

if [ -d data/mini_coco ]; then
    step "1/4 data: data/mini_coco is there"
else
    step "1/4 data: generating 300 images of shapes (10 seconds)"
    "$PYTHON" tools/data/make_mini_coco.py data/mini_coco
fi

if [ -e $LAST ]; then
    step "2/4 training: $LAST is there"
else
    step "2/4 training: Faster R-CNN with a DLA-L-18 backbone, 6 epochs (about 8 minutes on 2 cores)"
    "$PYTHON" tools/train.py $CONFIG --work-dir $WORK --resume
fi

step "3/4 testing: COCO AP on 60 validation images, drawing each (half a minute)"
rm -rf $WORK/drawn
"$PYTHON" tools/test.py $CONFIG $LAST --work-dir $WORK --show-dir $WORK/drawn

step "4/4 picture: ground truth left, detections right"
"$PYTHON" tools/analysis/picture_grid.py $WORK/drawn $WORK/detections.png
