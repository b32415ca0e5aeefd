"""No file runs code: three kinds of bombs, and a fourth that mmengine's resuming would run."""
import os
import pickle
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from robustness.cases.checkpoints import ENTRIES

from mmdla.errors import UserError
from mmdla.hosts import checkpoints
from mmdla.recorded_config import build_trained, is_layer


class Bomb:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def reduce(checkpoint, mark):
    """An object in the middle of a whole checkpoint."""
    checkpoint['meta']['note'] = Bomb(os.mkdir, str(mark))


def gadget(checkpoint, mark):
    """A way from ``getattr`` to any function, which a statistic of the log then calls."""
    checkpoint['meta']['note'] = Bomb(getattr, HistoryBuffer.__init__, '__globals__')


def recorded(checkpoint, mark):
    """A config whose type is a function, in a file of weights only."""
    cfg = checkpoint['meta']['cfg']
    bomb = f"layer_cfgs=dict(act_cfg=dict(type='os.mkdir', path='{mark}')), type='mmdla.DLAResNet'"
    assert cfg.count("type='mmdla.DLAResNet'") == 1
    checkpoint['meta']['cfg'] = cfg.replace("type='mmdla.DLAResNet'", bomb)


def program(checkpoint, mark):
    """A config of mmcv 1, which is Python, and which mmengine runs on resuming."""
    checkpoint['meta']['config'] = f"import os\nos.mkdir('{mark}')\n"


@pytest.mark.parametrize('entry', ENTRIES)
@pytest.mark.parametrize('bomb', [reduce, gadget, recorded])
def test_a_bomb_does_not_go_off(bomb, entry, inputs, call):
    mark = inputs.SCRATCH / 'exploded'
    checkpoint = torch.load(inputs.DET_CKPT, weights_only=False)
    checkpoint['meta']['epoch'] = 0
    bomb(checkpoint, mark)
    torch.save(checkpoint, inputs.SCRATCH / 'x.pth')
    tool, arguments = ENTRIES[entry]
    done = call(tool, *shlex.split(arguments.format(**vars(inputs))))
    assert not mark.exists()
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith('error: ')
    if entry != 'released' or bomb is not recorded:  # it does not read the config
        words = 'is no registered layer' if bomb is recorded else 'is refused: it would run'
        assert words in done.stderr


def test_a_config_of_mmcv_1_is_not_run(inputs, call):
    checkpoint = torch.load(inputs.DET_CKPT, weights_only=False)
    program(checkpoint, inputs.SCRATCH / 'exploded')
    checkpoint['meta']['epoch'] = 0
    torch.save(checkpoint, inputs.SCRATCH / 'x.pth')
    tool, arguments = ENTRIES['resume']
    done = call(tool, *shlex.split(arguments.format(**vars(inputs))), 'val_cfg=None',
                'val_dataloader=None', 'val_evaluator=None')
    assert done.returncode == 0 and not (inputs.SCRATCH / 'exploded').exists()


def test_a_trusted_file_is_read(tmp_path, monkeypatch):
    torch.save(dict(state_dict=dict(a=torch.zeros(1)), made=Bomb(os.mkdir, str(tmp_path / 'made'))),
               tmp_path / 'x.pth')
    with pytest.raises(UserError, match='would run posix.mkdir.*MMDLA_TRUST_CHECKPOINT=1'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
    assert not (tmp_path / 'made').exists()
    monkeypatch.setenv('MMDLA_TRUST_CHECKPOINT', '1')
    CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
    assert (tmp_path / 'made').exists()


def test_what_a_run_of_mmengine_saves_is_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    meta = dict(score=np.float64(0.5), count=np.int64(3), palette=np.zeros((2, 3), np.uint8))
    content = dict(meta=meta, message_hub=dict(log_scalars={'train/loss': history}))
    torch.save(content, tmp_path / 'x.pth')
    read = CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
    assert read['meta']['score'] == 0.5 and (read['meta']['palette'] == 0).all()
    assert read['message_hub']['log_scalars']['train/loss'].statistics('mean') == 1.5


def test_files_of_numpy_1_are_read(tmp_path):
    """Its array functions lay in another module, whose name is in the file."""
    torch.save(dict(a=np.arange(3.0), b=np.float32(2)), tmp_path / 'x.pth',
               _use_new_zipfile_serialization=False)
    data = (tmp_path / 'x.pth').read_bytes()
    assert b'numpy._core.multiarray' in data
    (tmp_path / 'old.pth').write_bytes(data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
    read = checkpoints.load(str(tmp_path / 'old.pth'))
    assert read['a'].tolist() == [0, 1, 2] and read['b'] == 2


def test_the_stand_in_for_getattr_serves_no_other_function():
    assert checkpoints.attribute(checkpoints.OneCycle, '_annealing_cos')(0, 1, 1) == 1
    for owner, name in ((HistoryBuffer, 'mean'), (checkpoints.History, '__init__'), (os, 'min'),
                        (checkpoints.OneCycle, '__globals__')):
        with pytest.raises(pickle.UnpicklingError):
            checkpoints.attribute(owner, name)


class Forged:
    """An object with a state of one's choice."""

    def __init__(self, made, state):
        self.made, self.state = made, state

    def __reduce__(self):
        return (*self.made, self.state)


OBJECTS = np.empty(1, object)
OBJECTS[0] = dict(type='os.mkdir')


@pytest.mark.parametrize('forged', [
    OBJECTS, np.array(['a']), np.array([1j]), np.dtype('O'), np.zeros(2, [('a', 'f4')]),
    Forged((np.dtype, ('i8', False, True)), (3, '<', (np.dtype('O'), (1, )), None, None, 8, 8, 0)),
    Forged((np.ndarray, ((1, ), ), ), (1, (1, ), np.dtype('f8'), False, b'')),
    Forged((HistoryBuffer, ()), dict(_statistics_methods=dict(mean=1))),
    Forged((np._core.multiarray._reconstruct, (np.ndarray, (0, ), b'b')),
           (1, (2**40, ), np.dtype('f8'), False, b'12345678')),
], ids=range(9))
def test_forged_arrays(forged, tmp_path):
    """Of their state only that of an array of numbers is taken."""
    torch.save(dict(a=forged), tmp_path / 'x.pth')
    try:
        read = checkpoints.load(str(tmp_path / 'x.pth'))['a']
    except UserError:
        return
    kind = read.real if isinstance(read, checkpoints.Type) else read.dtype
    assert kind == np.dtype('i8')


def test_many_threads_leave_the_list_as_it_was(tmp_path):
    torch.save(dict(a=np.arange(3.0)), tmp_path / 'x.pth')
    before = set(torch.serialization.get_safe_globals())
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: checkpoints.load(str(tmp_path / 'x.pth')), range(40)))
    assert all(one['a'].tolist() == [0, 1, 2] for one in read)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize('config', [
    dict(type='mmdla.ResNet', depth=18, _scope_='antigravity'),
    dict(type='mmdla.ResNet', depth=18, plugins=[dict(cfg=dict(type='ContextBlock', _scope_='os'))]),
    dict(type='mmdla.ResNet', depth=18, norm_cfg=OBJECTS),
    dict(type='mmdla.ResNet', depth=18, norm_cfg={5: dict(type='os.mkdir')}),
], ids=range(4))
def test_a_recorded_config_says_nothing_to_the_registry(config):
    with pytest.raises(UserError, match='is no registered layer'):
        build_trained(config, 'x.pth')


def test_importing_allows_nothing_to_other_loads(tmp_path):
    torch.save(dict(a=Bomb(getattr, HistoryBuffer, 'mean')), tmp_path / 'x.pth')
    for first in ('', 'import mmdla\n'):
        program = (f'{first}import torch\ntry:\n    torch.load({str(tmp_path / "x.pth")!r})\n'
                   'except Exception as error:\n    print(type(error).__name__)\n'
                   'print(getattr in torch.serialization.get_safe_globals())')
        out = subprocess.run([sys.executable, '-c', program], text=True, capture_output=True)
        assert out.stdout.split('\n')[-3:-1] == ['UnpicklingError', 'False'], out.stderr


def test_a_process_that_allows_getattr_does_not_allow_it_to_checkpoints(tmp_path):
    torch.save(dict(a=Bomb(getattr, HistoryBuffer.__init__, '__globals__')), tmp_path / 'x.pth')
    before = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals([getattr, complex])
        with pytest.raises(UserError, match='refused'):
            checkpoints.load(str(tmp_path / 'x.pth'))
        assert {getattr, complex} <= set(torch.serialization.get_safe_globals())
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


@pytest.mark.parametrize('kind', ['subprocess.getoutput', 'builtins.exec', 'mmengine.Config',
                                  'mmpretrain.HuggingFaceClassifier', 'mmpretrain.TIMMBackbone',
                                  'mmdet.FasterRCNN', 'torch.hub.load', 5])
def test_no_such_type_is_built(kind):
    assert not is_layer(kind)


@pytest.mark.parametrize('kind', ['mmdla.DLAResNet', 'DLALight', 'mmdla.DSU', 'BN', 'ReLU', 'LN',
                                  'mmpretrain.LN2d', 'mmdet.DropBlock', 'DCNv2', 'GELU', 'ContextBlock',
                                  'mmdla.trunks.systems.DLAResNet'])
def test_layers_are_built(kind):
    assert is_layer(kind)
