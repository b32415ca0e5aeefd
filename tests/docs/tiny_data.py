"""The files that the pages speak of, tiny: pictures in class folders, of YOLO and of VOC."""
import cv2
import numpy as np

VOC_CLASSES = ('aeroplane', 'bicycle')


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)


def class_folders(root):
    for split in ('train', 'val'):
        for number, name in enumerate(('a', 'b', 'c', 'd', 'e')):
            picture(root / split / name / '1.jpg', number)


def yolo(root):
    """my_images and my_labels: one picture with two boxes, one without a label file."""
    picture(root / 'my_images' / '1.jpg')
    picture(root / 'my_images' / '2.jpg')
    (root / 'my_labels').mkdir()
    (root / 'my_labels' / '1.txt').write_text('0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.5 0.5\n')


def voc(root):
    """VOC2007 and VOC2012 with two pictures each."""
    for year in ('VOC2007', 'VOC2012'):
        folder = root / year
        sets = folder / 'ImageSets' / 'Main'
        sets.mkdir(parents=True)
        (folder / 'Annotations').mkdir()
        for number, name in enumerate(VOC_CLASSES):
            picture(folder / 'JPEGImages' / f'{number}.jpg', number)
            (folder / 'Annotations' / f'{number}.xml').write_text(
                '<annotation><size><width>320</width><height>240</height><depth>3</depth></size>'
                f'<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>11</xmin><ymin>11</ymin>'
                '<xmax>111</xmax><ymax>111</ymax></bndbox></object></annotation>')
        for split in ('trainval', 'test'):
            (sets / f'{split}.txt').write_text('0\n1\n')


def make(root):
    """Everything, in the folder that the pages' commands start from."""
    (root / 'checkpoints').mkdir()
    picture(root / 'photo.jpg')
    class_folders(root / 'data' / 'my_images')
    yolo(root)
    voc(root / 'data' / 'VOCdevkit')
    # the detector that a reader of upgrade.md has
    base = 'configs/comparison/faster_rcnn_resnet50_1x_coco.py'
    (root / 'my_detector.py').write_text(f'_base_ = {base!r}\n')
