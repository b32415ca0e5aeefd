import filecmp

import cv2
import make_mini_shapes
import numpy as np
import pytest
from make_mini_coco import CLASSES

from mmdla.errors import UserError


def main(monkeypatch, *args):
    monkeypatch.setattr('sys.argv', ['', *(str(arg) for arg in args)])
    make_mini_shapes.main()


def test_it_is_the_same_every_time_and_balanced(tmp_path, monkeypatch, capsys):
    one, two, other = tmp_path / 'one', tmp_path / 'two', tmp_path / 'other'
    for root, seed in ((one, 0), (two, 0), (other, 1)):
        main(monkeypatch, root, '--train', '10', '--val', '5', '--seed', seed)
    assert 'train: 10 images' in capsys.readouterr().out
    files = [p.relative_to(one) for p in one.rglob('*') if p.is_file()]
    assert filecmp.cmpfiles(one, two, files, shallow=False)[0] == files
    assert filecmp.cmpfiles(one, other, files, shallow=False)[1] == files
    for split, count in (('train', 2), ('val', 1)):
        assert {p.name: len(list(p.iterdir())) for p in (one / split).iterdir()} == dict.fromkeys(
            CLASSES, count)
    contents = [(one / path).read_bytes() for path in files]
    assert len(set(contents)) == len(contents), 'train and val share an image'


@pytest.mark.parametrize('kind', CLASSES)
def test_an_image_shows_its_shape(kind):
    """In one colour, over at least a part of the middle that the smallest shape covers."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        image = make_mini_shapes.make_image(rng, kind)
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        smooth = cv2.blur(image.astype(float), (3, 3))
        middle = smooth[21:43, 21:43].reshape(-1, 3)
        closest = [(np.abs(middle - color).max(1) < 12).sum() for color in middle[::7]]
        assert max(closest) > 40


def test_a_set_is_whole_or_not_there(tmp_path, monkeypatch):
    root = tmp_path / 'shapes'
    monkeypatch.setattr(make_mini_shapes, 'noisy', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(monkeypatch, root)
    assert not root.exists()
    root.mkdir()
    with pytest.raises(UserError, match='exists already: remove it'):
        main(monkeypatch, root)
    with pytest.raises(UserError, match='at least 5'):
        main(monkeypatch, tmp_path / 'few', '--val', '4')
