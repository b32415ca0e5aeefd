#!/usr/bin/env bash
# From a fresh clone to detections on generated images: installs, pretrains a DLA backbone, trains
# Faster R-CNN from it, tests and draws. Started again, it goes on where it was.
#
#     bash tools/quickstart.sh [--compare] [--verbose]
#
# --compare also trains the detector from scratch and prints the two side by side. --verbose shows
# the logs on the console. PYTHON=/path/to/python uses a ready environment.
set -euo pipefail

COMPARE='' VERBOSE='' PROGRESS=--progress STEPS=7
for argument in "$@"; do
    case $argument in
        --compare) COMPARE=1 STEPS=9 ;;
        --verbose) VERBOSE=1 PROGRESS='' ;;
        *)
            echo 'usage: bash tools/quickstart.sh [--compare] [--verbose]' >&2
            exit 2
            ;;
    esac
done
unset MINI_ROOT MINI_SHAPES_ROOT  # the sets are those made here
MODULES=shapely  # for the generated set
source "$(dirname "$0")/environment.sh"
trap 'echo; echo "stopped: start it again and it goes on" >&2; exit 130' INT

CLASSIFIER=configs/mini/dla_l18_mini_shapes.py
DETECTOR=configs/mini/faster_rcnn_dla_l18_mini_pretrained.py
SCRATCH=configs/mini/faster_rcnn_dla_l18_mini.py
WORK=work_dirs/quickstart

mkdir -p $WORK
exec 8>$WORK/lock
lock 8 now || fail "another quickstart is running in $ROOT: wait for it."

once() {  # MARKER: whether a step, which made this file at its end, was done before
    if [ -e "$1" ]; then end 'done before'; else return 1; fi
}

generate() {  # TOOL FOLDER
    [ -d "$2" ] || "$PYTHON" "$1" "$2"
}

data() {
    generate tools/data/make_mini_coco.py data/mini_coco
    generate tools/data/make_mini_shapes.py data/mini_shapes
}

train() {  # CONFIG NAME
    once $WORK/"$2"/trained && return
    visibly "$2" "$PYTHON" tools/train.py "$1" --work-dir $WORK/"$2" --resume $PROGRESS
    touch $WORK/"$2"/trained
}

evaluate() {  # CONFIG NAME
    once $WORK/"$2"/metrics.json && return
    rm -rf $WORK/"$2"/drawn
    visibly "$2_test" "$PYTHON" tools/test.py "$1" $WORK/"$2"/epoch_6.pth --work-dir $WORK/"$2" \
        --show-dir $WORK/"$2"/drawn $PROGRESS
}

begin 'data: 300 images of shapes with boxes, 2250 of one shape each (10 seconds)'
if [ -d data/mini_coco ] && [ -d data/mini_shapes ]; then end 'done before'; else quietly data data; end; fi

begin 'pretraining: a classifier with a DLA-L-18 backbone, 4 epochs (1 minute)'
train $CLASSIFIER classifier

begin 'extraction: its backbone becomes the start of a detector (5 seconds)'
if ! once $WORK/classifier/extracted; then
    quietly extraction "$PYTHON" tools/convert/extract_backbone.py $WORK/classifier/epoch_4.pth \
        checkpoints/dla_l18_mini_shapes.pth
    touch $WORK/classifier/extracted
    end
fi

begin 'training: Faster R-CNN from this backbone, 6 epochs (3 minutes)'
train $DETECTOR detector

begin 'test: COCO AP on 60 validation images, drawing each (15 seconds)'
evaluate $DETECTOR detector
PICTURE=$WORK/detections.jpg
[ -e $PICTURE ] || quietly picture "$PYTHON" tools/analysis/picture_grid.py $WORK/detector/drawn $PICTURE \
    --headings 'ground truth' detections

if [ -n "$COMPARE" ]; then
    begin 'training: the same detector from scratch (3 minutes)'
    train $SCRATCH scratch
    begin 'test of it (15 seconds)'
    evaluate $SCRATCH scratch
fi

echo
if [ -n "$COMPARE" ]; then
    "$PYTHON" tools/analysis/compare_metrics.py pretrained=$WORK/detector/metrics.json \
        scratch=$WORK/scratch/metrics.json
    echo
fi
read -r AP AP50 < <("$PYTHON" -c "import json; m = json.load(open('$WORK/detector/metrics.json'))
print('%.3f' % m['coco/bbox_mAP'], '%.3f' % m['coco/bbox_mAP_50'])")
cat <<END
done in $(clock $SECONDS)
  box AP   $AP, AP50 $AP50 on 60 validation images
  picture  $PICTURE: ground truth left, detections right
  logs     $LOGS, $WORK

next:
  your own image      $IN_SHELL tools/inference.py $DETECTOR $WORK/detector/epoch_6.pth IMAGE
  your own data set   $IN_SHELL tools/train.py configs/custom/faster_rcnn_dla_l50_bccd.py   # after editing it
  attention maps      $IN_SHELL tools/analysis/layer_attention_map.py $DETECTOR $WORK/detector/epoch_6.pth data/mini_coco/val2017
END
