import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope

from mmdla.engine.data_errors import NamingPipeline, explained, named
from mmdla.engine.runner import Runner
from mmdla.errors import RunError, UserError, sentence
from mmdla.hosts.compat import import_datasets


@pytest.fixture
def folders(tmp_path):
    """A set of one class with one good and one broken picture."""
    (tmp_path / 'x').mkdir()
    cv2.imwrite(str(tmp_path / 'x' / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'x' / 'b.png').write_bytes(b'text')
    import_datasets('mmpretrain')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield dict(type='CustomDataset', data_root=str(tmp_path), pipeline=pipeline)


def test_errors_inside_wrappers_name_the_file(folders, tmp_path):
    inner = dict(type='RepeatDataset', times=2, dataset=folders)
    dataset = DATASETS.build(named(dict(type='ConcatDataset', datasets=[inner, folders])))
    assert len(dataset) == 6 and dataset[0]['inputs'].shape == (3, 8, 8)
    for index in (1, 3, 5):
        with pytest.raises(RunError, match='x/b.png cannot be prepared, it is no whole picture: '):
            dataset[index]
    with pytest.raises(UserError, match=f'data set of {tmp_path}/ cannot be loaded, .*: Found 0'):
        DATASETS.build(named({**folders, 'extensions': ['.gif']}))


@pytest.mark.parametrize('workers', [0, 1])
def test_a_loader_names_the_file(folders, workers):
    loader = Runner.build_dataloader(dict(
        batch_size=1, num_workers=workers, dataset=folders,
        sampler=dict(type='DefaultSampler', shuffle=False)))
    with pytest.raises(RunError) as error:
        list(loader)
    assert sentence(error.value).startswith('image ') and '\n' not in sentence(error.value)


def fails(error):

    def transform(data):
        raise error

    return NamingPipeline(Compose([transform]))


@pytest.mark.parametrize('error, words', [
    (KeyError('mask'), "function: an image or annotation has no 'mask'"),
    (FileNotFoundError(2, 'No such file or directory'), 'function: No such file or directory'),
    (ZeroDivisionError('by zero'), 'function: ZeroDivisionError: by zero')])
def test_errors_of_transforms(error, words):
    with pytest.raises(RunError, match=f'image a.png cannot be prepared, {words}: mend'):
        fails(error)(dict(img_path='a.png'))


def test_a_picture_that_resizing_leaves_nothing_of():
    resize = NamingPipeline(Compose([lambda data: cv2.resize(data['img'], (0, 5))]))
    with pytest.raises(RunError, match='resize fails with ') as error:
        resize(dict(img_path='a.png', img=np.zeros((9, 9, 3), np.uint8)))
    assert '\n' not in str(error.value)


def test_a_sentence_stays_as_it_is():
    with pytest.raises(UserError, match='^said$'), explained(dict(type='X')):
        raise UserError('said')
    with pytest.raises(UserError, match='^said$'):
        fails(UserError('said'))({})
