"""The notebook of docs/: its cells, run in order as Jupyter would."""
import json
import time
from pathlib import Path

import matplotlib

NOTEBOOK = Path(__file__).parents[2] / 'docs' / 'first_look.ipynb'


def test_the_notebook_runs_in_two_minutes(capsys):
    matplotlib.use('Agg')
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook['nbformat'] == 4
    began, namespace = time.process_time(), {'__name__': '__main__'}
    for cell in notebook['cells']:
        assert cell.get('outputs', []) == [], 'clear the outputs'
        if cell['cell_type'] == 'code':
            exec(compile(''.join(cell['source']), cell['id'], 'exec'), namespace)
    assert 'equal: True' in capsys.readouterr().out
    assert time.process_time() - began < 120
    matplotlib.pyplot.close('all')
