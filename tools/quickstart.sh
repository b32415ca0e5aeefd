#!/usr/bin/env bash
# From a fresh clone to COCO AP on generated data: installs, pretrains a backbone, trains a detector
# from scratch and from that backbone, tests and draws. PYTHON=/path/to/python uses a ready
# environment. Run again, it goes on where it was.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

CLASSIFIER=configs/mini/dla_l18_mini_shapes.py
SCRATCH=configs/mini/faster_rcnn_dla_l18_mini.py
PRETRAINED=configs/mini/faster_rcnn_dla_l18_mini_pretrained.py
WORK=work_dirs/quickstart

step() { echo; echo "== $*"; }

train() {  # CONFIG WORK_DIR LAST_EPOCH WHAT
    if [ -e "$2/epoch_$3.pth" ]; then
        step "$4: $2/epoch_$3.pth is there"
    else
        step "$4"
        "$PYTHON" tools/train.py "$1" --work-dir "$2" --resume
    fi
}

generate() {  # TOOL FOLDER WHAT
    if [ -d "$2" ]; then
        step "$3: $2 is there"
    else
        step "$3"
        "$PYTHON" "$1" "$2"
    fi
}

generate tools/data/make_mini_coco.py data/mini_coco \
    "1/8 detection data: 300 images of shapes (10 seconds)"
generate tools/data/make_mini_shapes.py data/mini_shapes \
    "2/8 classification data: 2250 images of a shape (5 seconds)"

train $CLASSIFIER $WORK/classifier 4 \
    "3/8 pretraining: a classifier with a DLA-L-18 backbone (about 2 minutes on 2 cores)"

step "4/8 extraction: its backbone becomes the start of a detector"
"$PYTHON" tools/convert/extract_backbone.py $WORK/classifier/epoch_4.pth \
    checkpoints/dla_l18_mini_shapes.pth

train $SCRATCH $WORK 6 \
    "5/8 training from scratch: Faster R-CNN with this backbone, 6 epochs (8 to 13 minutes on 2 cores)"
train $PRETRAINED $WORK/pretrained 6 \
    "6/8 training from the pretrained backbone, otherwise the same (as long)"

step "7/8 testing: COCO AP on 60 validation images, drawing each (a minute)"
rm -rf $WORK/drawn
"$PYTHON" tools/test.py $SCRATCH $WORK/epoch_6.pth --work-dir $WORK
"$PYTHON" tools/test.py $PRETRAINED $WORK/pretrained/epoch_6.pth --work-dir $WORK/pretrained \
    --show-dir $WORK/drawn

step "8/8 picture (ground truth left, detections right) and the two runs"
"$PYTHON" tools/analysis/picture_grid.py $WORK/drawn $WORK/detections.png
"$PYTHON" tools/analysis/compare_metrics.py scratch=$WORK/metrics.json \
    pretrained=$WORK/pretrained/metrics.json
