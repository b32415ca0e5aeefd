import json
import runpy
import sys

import pytest

TOOL = 'tools/analysis/compare_metrics.py'


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [TOOL, *args])
    runpy.run_path(TOOL, run_name='__main__')


def test_runs_stand_side_by_side(tmp_path, monkeypatch, capsys):
    for name, metrics in (('a', {'coco/bbox_mAP': .6364, 'coco/bbox_mAP_50': .8}),
                          ('b', {'coco/bbox_mAP': .7, 'coco/classwise': ['x']})):
        (tmp_path / f'{name}.json').write_text(json.dumps(metrics))
    run(monkeypatch, f'scratch={tmp_path}/a.json', f'pretrained={tmp_path}/b.json')
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [['scratch', 'pretrained'], ['bbox_mAP', '0.636', '0.700'],
                     ['bbox_mAP_50', '0.800', '-']]


@pytest.mark.parametrize('arg, words', [
    ('a.json', 'not of the form NAME=metrics.json'),
    ('a={}/none.json', 'none.json is no metrics.json'),
    ('a={}/text.json', 'text.json is no metrics.json'),
    ('a={}/number.json', 'number.json is no metrics.json'),
])
def test_mistakes_get_one_sentence(tmp_path, monkeypatch, arg, words):
    (tmp_path / 'text.json').write_text('AP 0.6')
    (tmp_path / 'number.json').write_text('3')
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, arg.format(tmp_path))
    message = stop.value.code
    assert message.startswith('error: ') and words in message and '\n' not in message
