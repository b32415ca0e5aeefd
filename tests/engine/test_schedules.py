import pytest
from mmengine.config import Config

from mmdla.engine.schedules import check_schedules, long_warmups
from mmdla.errors import UserError


def cfg(*schedules, **train_cfg):
    return Config(dict(param_scheduler=list(schedules), train_cfg=train_cfg or dict(max_epochs=2)))


WARMUP = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500)


def test_a_warmup_that_is_longer_than_the_run():
    said, = long_warmups(cfg(dict(type='StepLR', step_size=1), WARMUP), 120)
    assert said.startswith('the warm-up (param_scheduler.1, LinearLR) takes 500 iterations and the run '
                           'has 120,')
    assert said.endswith('--cfg-options param_scheduler.1.end=12 shortens it.')
    assert long_warmups(cfg(WARMUP), 500) == []
    assert long_warmups(cfg(WARMUP), 6)[0].endswith('param_scheduler.0.end=2 shortens it.')
    assert 'stays where it starts' in long_warmups(cfg(dict(WARMUP, end=1)), 120)[0]
    an_epoch = dict(WARMUP, end=1, by_epoch=True, convert_to_iter_based=True)
    assert long_warmups(cfg(an_epoch), 120) == []
    by_epoch = dict(type='LinearLR', start_factor=0.01, end=3, convert_to_iter_based=True)
    assert 'takes 3 epochs and the run has 2,' in long_warmups(cfg(by_epoch), 120)[0]
    assert long_warmups(cfg(dict(WARMUP, start_factor=1, end_factor=0.1)), 120) == []
    assert long_warmups(Config(dict(train_cfg=dict(max_epochs=2), param_scheduler=WARMUP)), 120)
    assert long_warmups(Config(dict(param_scheduler=dict(generator=[WARMUP]))), 120) == []
    assert long_warmups(Config(dict(param_scheduler=None)), 120) == []


def test_a_schedule_that_begins_after_the_run():
    cosine = dict(type='CosineAnnealingLR', begin=2)
    with pytest.raises(UserError, match='param_scheduler.0 .CosineAnnealingLR. begins after 2 epochs'):
        check_schedules(cfg(cosine))
    check_schedules(cfg(dict(cosine, end=4)))
    check_schedules(cfg(dict(cosine, begin=1)))
    check_schedules(cfg(cosine, max_iters=100))
    later = dict(cosine, begin=500, by_epoch=False)
    check_schedules(cfg(later))
    for known in (dict(cfg=cfg(later), iterations=120), dict(cfg=cfg(later, max_iters=120))):
        with pytest.raises(UserError, match='begins after 500 iterations and the run has 120'):
            check_schedules(**known)
