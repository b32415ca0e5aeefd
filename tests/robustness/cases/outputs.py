"""Places that cannot be written to."""
from .case import Case

CASES = [
    Case('inference with a config that is not there', 'inference.py',
         'none.py {DET_CKPT} {IMAGE} --out-dir {SCRATCH}', 'none.py does not exist'),
]
