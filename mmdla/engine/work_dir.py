"""What mmengine's runs leave in their work dirs."""
import json
from pathlib import Path
from typing import Dict, List, Optional

METRICS = ('accuracy/top1', 'coco/bbox_mAP')


def read_scalars(work_dir: str) -> List[dict]:
    """The lines of all scalars.json of a work dir, those of its restarts in order."""
    return [json.loads(line) for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


def validations(scalars: List[dict], metric: str) -> Dict[int, float]:
    """A validation metric by epoch; what a restart repeats is the newer one."""
    return {line['step']: line[metric] for line in scalars if metric in line}


def last_validation(work_dir: str, metric: str) -> Optional[float]:
    """A metric after the last epoch that was validated, or None."""
    values = validations(read_scalars(work_dir), metric)
    return values[max(values)] if values else None


def config_of(work_dir: str) -> Optional[Path]:
    """The config that a run wrote to its work dir."""
    return next(iter(sorted(Path(work_dir).glob('*.py'))), None)
