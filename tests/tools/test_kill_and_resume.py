import subprocess
import sys

import pytest


@pytest.mark.full
def test_killed_runs_end_as_the_others(tmp_path):
    """Each moment once; `python tools/dev/kill_and_resume.py` has twenty kills."""
    done = subprocess.run([sys.executable, 'tools/dev/kill_and_resume.py', '--kills', '6'], text=True,
                          capture_output=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '6 of 6 runs ended with the weights of the uninterrupted one' in done.stdout
