"""CIFAR: official layout in, augmented batches out."""
import importlib.util
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.apis import ImageClassificationInferencer
from PIL import Image

from mmdla.datasets import CIFAR
from mmdla.datasets.cifar_preprocessor import CIFARDataPreprocessor, random_crop_and_flip
from mmdla.errors import UserError

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('pack', ROOT / 'tools' / 'dev' / 'pack_cifar100.py')
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)


def dump(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


@pytest.fixture
def cifar(tmp_path):
    """Few images in the official files of both sets, each image filled with its number."""
    pixels = np.arange(20, dtype=np.uint8).repeat(3072).reshape(20, 3072)
    for i in range(5):
        part = slice(4 * i, 4 * i + 4)
        dump(tmp_path / 'cifar-10-batches-py' / f'data_batch_{i + 1}',
             dict(data=pixels[part], labels=list(range(20))[part][:4] if i < 2 else [i] * 4))
    dump(tmp_path / 'cifar-10-batches-py' / 'test_batch', dict(data=pixels[:3], labels=[7, 8, 9]))
    for split, count in (('train', 20), ('test', 5)):
        dump(tmp_path / 'cifar-100-python' / split,
             dict(data=pixels[:count], fine_labels=list(range(80, 80 + count)), coarse_labels=[0]))
    return tmp_path


def test_official_layout(cifar):
    train, test = CIFAR(cifar, 10, 'train'), CIFAR(cifar, 10, 'test')
    assert len(train) == 20 and len(test) == 3 and len(train.metainfo['classes']) == 10
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7] + [2] * 4 + [3] * 4 + [4] * 4
    assert test[2]['labels'] == 9 and test[2]['inputs'].unique().tolist() == [2]
    hundred = CIFAR(cifar, 100, 'test')
    assert hundred.labels.tolist() == [80, 81, 82, 83, 84] and len(hundred.metainfo['classes']) == 100
    assert hundred.images.dtype == torch.uint8 and hundred.images.shape == (5, 3, 32, 32)


def test_a_tenth_of_the_train_images_is_held_out(cifar):
    most, tenth = CIFAR(cifar, 100, 'train_90'), CIFAR(cifar, 100, 'train_10')
    assert tenth.labels.tolist() == [80, 90] and tenth.images[1].unique().tolist() == [10]
    assert sorted(most.labels.tolist() + tenth.labels.tolist()) == list(range(80, 100))
    assert len(most.images) == len(most) == 18


def test_planes_are_rows_of_red_green_and_blue(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    dump(tmp_path / 'cifar-100-python' / 'test',
         dict(data=image.transpose(2, 0, 1).reshape(1, 3072), fine_labels=[3]))
    assert np.array_equal(CIFAR(tmp_path, 100, 'test')[0]['inputs'].permute(1, 2, 0), image)


def test_packed_archive(cifar, tmp_path_factory):
    other = tmp_path_factory.mktemp('packed')
    with tarfile.open(other / 'cifar-100-python.tar.gz', 'w:gz') as tar:
        tar.add(cifar / 'cifar-100-python', 'cifar-100-python')
    assert torch.equal(CIFAR(other, 100, 'train').images, CIFAR(cifar, 100, 'train').images)


def test_loader_serves_whole_batches(cifar):
    loader = Runner.build_dataloader(dict(
        batch_size=8, num_workers=0, collate_fn=dict(type='mmdla.as_it_is'),
        sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
        dataset=dict(type='mmdla.CIFAR', data_root=str(cifar), num_classes=100, split='train')), seed=0)
    batches = list(loader)
    assert [tuple(b['inputs'].shape) for b in batches] == [(8, 3, 32, 32)] * 2 + [(4, 3, 32, 32)]
    labels = torch.cat([b['labels'] for b in batches])
    assert sorted(labels.tolist()) == list(range(80, 100)) != labels.tolist()
    assert all((b['inputs'][:, 0, 0, 0] + 80 == b['labels']).all() for b in batches)


class Evil:

    def __reduce__(self):
        return print, ('never', )


@pytest.mark.parametrize('break_it, words', [
    (lambda root: (root / 'cifar-100-python' / 'train').unlink(), 'no cifar-100-python.tar.gz either'),
    (lambda root: (root / 'cifar-100-python' / 'train').write_bytes(b'x'), 'cannot be read'),
    (lambda root: dump(root / 'cifar-100-python' / 'train', Evil()), 'is no array'),
    (lambda root: dump(root / 'cifar-100-python' / 'train', dict(data=[])), 'is no CIFAR-100 file'),
    (lambda root: dump(root / 'cifar-100-python' / 'train',
                       dict(data=np.zeros((1, 3072)), fine_labels=[100])), 'is no CIFAR-100 file'),
], ids=['missing', 'cut', 'code', 'keys', 'label'])
def test_wrong_files_get_one_sentence(cifar, break_it, words, capsys):
    break_it(cifar)
    with pytest.raises(UserError, match=words) as error:
        CIFAR(cifar, 100, 'train')
    assert '\n' not in str(error.value) and 'never' not in capsys.readouterr().out


def test_crop_and_flip_are_windows_of_the_padded_image():
    images = torch.arange(1, 3 * 6 * 5 * 200 + 1).view(200, 3, 6, 5)
    padded = torch.nn.functional.pad(images, (2, ) * 4)
    out = random_crop_and_flip(images, 2)
    assert out.shape == images.shape and out.dtype == images.dtype
    seen = set()
    for i, crop in enumerate(out):
        found = [(y, x, flip) for y in range(5) for x in range(5) for flip in (False, True)
                 if torch.equal(crop, (padded[i, :, y:y + 6, x:x + 5].flip(2) if flip else
                                       padded[i, :, y:y + 6, x:x + 5]))]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 40


def test_preprocessor(cifar):
    data = CIFAR(cifar, 100, 'train')[[0, 3, 5]]
    preprocessor = CIFARDataPreprocessor(mean=[1, 2, 3], std=[2, 2, 4])
    out = preprocessor(data, training=False)
    assert out['inputs'][1, :, 0, 0].tolist() == [1.0, 0.5, 0.0]
    assert out['inputs'].is_contiguous(memory_format=torch.channels_last)
    assert [sample.gt_label.tolist() for sample in out['data_samples']] == [[80], [83], [85]]
    torch.manual_seed(0)
    first = preprocessor(data, training=True)['inputs']
    torch.manual_seed(0)
    assert torch.equal(first, preprocessor(data, training=True)['inputs'])
    assert not torch.equal(first, preprocessor(data, training=True)['inputs'])


def test_batch_augments_are_the_hosts(cifar):
    data = CIFAR(cifar, 100, 'train')[[0, 3, 5]]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocessor = CIFARDataPreprocessor(
            num_classes=100, batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)]))
    out = preprocessor(data, training=True)
    scores = torch.stack([sample.gt_score for sample in out['data_samples']])
    torch.testing.assert_close(scores.sum(1), torch.ones(3))


def test_inference_on_a_picture_is_that_of_the_set(cifar, tmp_path, monkeypatch):
    """mmpretrain's inferencer, from a file, gives what the set's own batch gives."""
    monkeypatch.setenv('CIFAR_ROOT', str(cifar))
    cfg = Config.fromfile(ROOT / 'configs' / 'cifar' / 'dla_l20_b128_cifar100.py')
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'picture.png')
    inferencer = ImageClassificationInferencer(cfg)
    result = inferencer(str(tmp_path / 'picture.png'))[0]
    batch = dict(inputs=torch.from_numpy(pixels).permute(2, 0, 1)[None], labels=torch.tensor([0]))
    with torch.no_grad():
        own = inferencer.model.test_step(batch)[0].pred_score
    np.testing.assert_allclose(result['pred_scores'], own.numpy(), rtol=1e-5)


@pytest.fixture
def strips(tmp_path):
    """Two classes of the hundred hold pictures, the others one black one."""
    names = [f'class_{i}' for i in range(100)]
    source = tmp_path / 'strips'
    for split in ('train', 'test'):
        (source / split).mkdir(parents=True)
        for i, name in enumerate(names):
            strip = np.full((64 if i < 2 else 32, 32, 3), i, np.uint8)
            Image.fromarray(strip).save(source / split / f'{name}.webp', lossless=True)
    (source / 'class_names.json').write_text(json.dumps(names))
    return source


def test_pack_cifar100(call, strips, tmp_path):
    done = call('dev/pack_cifar100.py', strips, tmp_path / 'out')
    assert done.returncode == 0 and 'train: 102 images' in done.stdout
    data = CIFAR(tmp_path / 'out', 100, 'train')
    assert len(data) == 102 and (data.images[:, 0, 0, 0] == data.labels).all()
    assert data.labels.tolist() != sorted(data.labels.tolist())
    again = call('dev/pack_cifar100.py', strips, tmp_path / 'out')
    assert again.returncode == 1 and 'exists already' in again.stderr


@pytest.mark.parametrize('break_it, words', [
    (lambda s: (s / 'class_names.json').unlink(), 'class_names.json cannot be read'),
    (lambda s: (s / 'test' / 'class_7.webp').unlink(), 'no strip of the class class_7'),
    (lambda s: (s / 'train' / 'class_1.webp').write_bytes(b'x'), 'cannot be read as a picture'),
    (lambda s: Image.new('RGB', (30, 32)).save(s / 'train' / 'class_1.webp'), '30 x 32 pixels'),
    (lambda s: (s / 'class_names.json').write_text('["a"]'), 'has 1 classes'),
], ids=['names', 'class', 'picture', 'size', 'count'])
def test_incomplete_strips_leave_nothing(strips, tmp_path, break_it, words):
    break_it(strips)
    with pytest.raises(UserError, match=words):
        pack.pack(strips, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
