"""tools/inference.py on images of one name."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdla.engine.complexity import build
from mmdla.engine.inferencer import out_folders
from mmdla.engine.inputs import frames, inputs_of

ROOT = Path(__file__).parents[2]


def stem(path):
    return Path(path).stem


@pytest.mark.parametrize('images, folders', [
    (['a/x.png', 'b/y.png'], {'out': ['a/x.png', 'b/y.png']}),
    (['a/x.png', 'b/x.png', 'b/y.png'],
     {'out/a/x.png': ['a/x.png'], 'out/b/x.png': ['b/x.png'], 'out': ['b/y.png']}),
    (['a/x.png', 'a/x.jpg'], {'out/x.png': ['a/x.png'], 'out/x.jpg': ['a/x.jpg']}),
    (['/r/x.png', '/s/t/x.png'], {'out/r/x.png': ['/r/x.png'], 'out/s/t/x.png': ['/s/t/x.png']}),
    (['x.png', 'x.png'], {'out': ['x.png']}),
])
def test_folders(images, folders):
    assert out_folders(images, 'out', stem) == folders


@pytest.mark.parametrize('name, written', [
    ('faster_rcnn_dla_l18_mini', ['a/x.1.png/preds/x.1.json', 'a/x.1.png/vis/x.1.png',
                                  'b/x.1.png/preds/x.1.json', 'b/x.1.png/vis/x.1.png',
                                  'preds/x.2.json', 'vis/x.2.png']),
    ('dla_l18_mini_shapes', ['a/x.1.png/vis/x.png', 'b/x.1.png/vis/x.png', 'b/x.2.png/vis/x.png']),
])
def test_images_of_one_name(name, written, call, tmp_path, monkeypatch, mini_root):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    config = ROOT / 'configs' / 'mini' / f'{name}.py'
    torch.save(dict(state_dict=build(Config.fromfile(config)).state_dict(), meta={}), tmp_path / 'c.pth')
    images = [tmp_path / 'in' / image for image in ('a/x.1.png', 'b/x.1.png', 'b/x.2.png')]
    for seed, path in enumerate(images):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    out = tmp_path / 'out'
    done = call('inference.py', config, tmp_path / 'c.pth', *images, '--out-dir', out, '--device', 'cpu')
    assert done.returncode == 0, done.stderr
    assert sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()) == written


def test_videos_have_folders_of_their_own():
    images = ['in/a/x.png', 'in/x.mp4', 'in/b/x.mp4']
    assert out_folders(images, 'out', stem, images[1:]) == {
        'out': ['in/a/x.png'], 'out/x.mp4': ['in/x.mp4'], 'out/b/x.mp4': ['in/b/x.mp4']}


def video(path, count=3):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), 80 * number, np.uint8))
    writer.release()


def test_what_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a/2.png', 'a/1.JPG', 'a/b/3.png', 'a/notes.txt', 'c.png'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path('a/b/clip.AVI').touch()
    assert inputs_of(['a', 'c.png', './c.png', 'a/2.png', 'a/**/*.png']) == (
        ['a/1.JPG', 'a/2.png', 'a/b/3.png', 'c.png'], ['a/b/clip.AVI'])
    Path('[1].png').touch()
    assert inputs_of(['[1].png']).pictures == ['[1].png']


def test_frames_of_a_video(tmp_path):
    path = tmp_path / 'clip.avi'
    video(path)
    seen = [(Path(frame).name, int(cv2.imread(frame).mean())) for frame in frames(str(path))]
    assert [name for name, _ in seen] == ['000000.png', '000001.png', '000002.png']
    assert all(abs(value - 80 * number) < 8 for number, (_, value) in enumerate(seen))


def test_a_folder_with_a_video(call, tmp_path, monkeypatch, mini_root):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    config = ROOT / 'configs/mini/faster_rcnn_dla_l18_mini.py'
    meta = dict(dataset_meta=dict(classes=('disk', 'box', 'triangle', 'star', 'crossing')))
    torch.save(dict(state_dict=build(Config.fromfile(config)).state_dict(), meta=meta),
               tmp_path / 'c.pth')
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    cv2.imwrite(str(folder / 'x.png'), np.zeros((48, 64, 3), np.uint8))
    video(folder / 'x.avi', 2)
    done = call('inference.py', config, tmp_path / 'c.pth', folder, '--out-dir', out, '--device', 'cpu',
                '--score-thr', 0.9)
    assert done.returncode == 0, done.stderr
    assert sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()) == [
        'preds/x.json', 'vis/x.png', 'x.avi/preds/000000.json', 'x.avi/preds/000001.json',
        'x.avi/vis/000000.png', 'x.avi/vis/000001.png']
    assert not cv2.imread(str(out / 'vis/x.png')).any()
    assert (f'wrote 3 pictures to {out}/vis and objects to {out}/preds and likewise to {out}/x.avi\n'
            in done.stdout)
    assert '(disk, box, triangle, star, crossing) and the config has 5' in done.stdout
