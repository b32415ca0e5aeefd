"""The metafiles of our configs, the tables of configs in all READMEs, and model-index.yml.

    python tools/analysis/make_metafiles.py            # after a change of configs or paper_tables.yml
    python tools/analysis/make_metafiles.py --check    # writes and counts nothing, fails if stale

Every folder of configs/ has a metafile.yml, in the format of mim and mmengine, and a README.md, of
which the part between two marks is written here. Parameters and FLOPs are counted as get_flops.py
does, some seconds a detector, and kept beside a digest of the network's config until that changes.
``Results`` are means over the finished runs in docs/evidence/, of other runs added to a metafile by hand
and kept. Figures of the paper are those of paper_tables.yml; they go to the READMEs alone. Which rows
the first README's table has is chosen there.
"""
import argparse
import json
import os
import re
from functools import cache
from hashlib import sha1
from pathlib import Path
from statistics import mean
from typing import Dict, List, NamedTuple

from mmdla.engine import cli
from mmdla.engine.complexity import complexity, usual_shape
from mmdla.engine.evidence import by_config, read_records
from mmdla.errors import UserError
from mmdla.files import marks, with_part, write_text

import mmengine.config.utils
import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
ARXIV = 'https://arxiv.org/abs/'
# name, paper and URL, and the backbones, forms or plugins by which a config is known to be one of them
COLLECTIONS = {
    'DLA': ('Strengthening Layer Interaction via Dynamic Layer Attention', '2406.13392',
            ('DLAResNet', 'DLAVisionTransformer', 'DLALight')),
    'MRLA': ('Cross-Layer Retrospective Retrieving via Layer Attention', '2302.03985',
             ('MRLAResNet', 'MRLAVisionTransformer', 'MRLALight')),
    'DIANet': ('DIANet: Dense-and-Implicit Attention Network', '1905.10671', ('DIAResNet', )),
    'RLA-Net': ('Recurrence along Depth: Deep Convolutional Neural Networks with Recurrent Layer '
                'Aggregation', '2110.11852', ('RLAResNet', )),
    'ResNet': ('Deep Residual Learning for Image Recognition', '1512.03385', ('ResNet', )),
    'SE': ('Squeeze-and-Excitation Networks', '1709.01507', ('SE', )),
    'ECA-Net': ('ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks',
                '1910.03151', ('ECA', )),
    'CBAM': ('CBAM: Convolutional Block Attention Module', '1807.06521', ('CBAM', )),
    'A2-Net': ('A2-Nets: Double Attention Networks', '1810.11579', ('DoubleAttention', )),
    'AANet': ('Attention Augmented Convolutional Networks', '1904.09925', ('AAConv2d', )),
    'GCNet': ('GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond',
              '1904.11492', ('ContextBlock', )),
    'Non-local': ('Non-local Neural Networks', '1711.07971', ('NonLocal2d', )),
    'BA-Net': ('BA-Net: Bridge Attention for Deep Convolutional Neural Networks', '2112.04150',
               ('BridgeAttention', )),
}
# by the last word of a config's name
DATA = {
    'coco': 'COCO 2017', 'in1k': 'ImageNet-1k', 'cifar10': 'CIFAR-10', 'cifar100': 'CIFAR-100',
    'bccd': 'BCCD', 'mini': 'tools/data/make_mini_coco.py', 'shapes': 'tools/data/make_mini_shapes.py',
    'pretrained': 'tools/data/make_mini_coco.py'}
TOOL = 'tools/analysis/make_metafiles.py'
HEADS = ('config', 'epochs', 'parameters', 'FLOPs (G)', 'DLA paper', 'here')
PRINTED = {'top1': 'top-1', 'top5': 'top-5', 'box': 'box AP', 'mask': 'mask AP'}
# mim download reads a field weight, and takes what follows the last slash for the name of a file to
# fetch unless it is there: with no name it fetches nothing, and writes the config
NO_WEIGHT = 'none published/'


class Counts(NamedTuple):
    parameters: int
    flops: int


class Kept(NamedTuple):
    """What the metafiles hold that no config says: counts by digest, results by config."""

    counts: Dict[str, Counts]
    results: Dict[str, List[dict]]


def folders(root: Path) -> List[Path]:
    configs = root / 'configs'
    return sorted({p.parent for p in configs.rglob('*.py') if '_base_' not in p.parts})


def natural(path: Path) -> list:
    """To sort depth 20 before 110."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.stem)]


def read_configs(root: Path) -> Dict[Path, Config]:
    """All, by path; mmengine would parse a host's hundred metafiles for each base of each."""
    load, mmengine.config.utils.load = mmengine.config.utils.load, cache(mmengine.config.utils.load)
    try:
        return {path: cli.read_config(str(path)) for folder in folders(root)
                for path in sorted(folder.glob('*.py'), key=natural)}
    finally:
        mmengine.config.utils.load = load


def read_metafiles(root: Path) -> Kept:
    kept = Kept({}, {})
    for path in sorted((root / 'configs').rglob('metafile.yml')):
        for model in yaml.safe_load(path.read_text())['Models']:
            meta = model['Metadata']
            if 'Network Digest' in meta:
                kept.counts[meta['Network Digest']] = Counts(meta['Parameters'], meta['FLOPs'])
            if 'Results' in model:
                kept.results[model['Config']] = model['Results']
    return kept


def read_evidence(root: Path) -> Dict[str, List[dict]]:
    """The results of finished runs, by config."""
    records = by_config(read_records(root / 'docs' / 'evidence'))
    done = {config: [record for record in each if record.status == 'finished']
            for config, each in records.items()}
    return {config: [{
        'Task': each[0].measure.task, 'Dataset': data_set(Path(config)), 'Seeds': len(each),
        'Metrics': {each[0].measure.name: round(mean(record.result for record in each), 2)}}]
        for config, each in done.items() if each}


def digest(cfg: Config) -> str:
    """Of what parameters and FLOPs depend on."""
    model = cfg.to_dict()['model']
    for key in ('init_cfg', 'train_cfg', 'test_cfg', 'data_preprocessor'):
        model.pop(key, None)
    model['backbone'].pop('init_cfg', None)
    return sha1(json.dumps([model, usual_shape(cfg)], sort_keys=True).encode()).hexdigest()[:12]


def collection(path: Path, cfg: Config) -> str:
    """Of a config's first plugin, its layer attention, or its backbone."""
    backbone = cfg.model.backbone
    layer = backbone.plugins[0].cfg if backbone.get('plugins') else backbone.get('interaction', backbone)
    kind = layer.type.rpartition('.')[-1]
    for name, (_, _, types) in COLLECTIONS.items():
        if kind in types:
            return name
    raise UserError(f'{path.name} is of no collection: add {kind} to COLLECTIONS of '
                    'tools/analysis/make_metafiles.py.')


def data_set(path: Path) -> str:
    word = path.stem.rpartition('_')[-1]
    if word not in DATA:
        raise UserError(f'{path.name} does not end with a data set: name it NAME_{"|".join(DATA)}.py, '
                        'or add its own to DATA of tools/analysis/make_metafiles.py.')
    return DATA[word]


def describe(root: Path, path: Path, cfg: Config, kept: Kept) -> dict:
    """A config's entry of a metafile."""
    config, counts = str(path.relative_to(root)), kept.counts[digest(cfg)]
    entry = {
        'Name': path.stem,
        'In Collection': collection(path, cfg),
        'Config': config,
        'Metadata': {
            'Training Data': data_set(path),
            'Epochs': cfg.train_cfg.max_epochs,
            'Batch Size': cfg.auto_scale_lr.base_batch_size,
            'Parameters': counts.parameters,
            'FLOPs': counts.flops,
            'Network Digest': digest(cfg),
            'Weight': NO_WEIGHT,
        }}
    if config in kept.results:
        entry['Results'] = kept.results[config]
    return entry


def metafile(models: List[dict]) -> str:
    used = {model['In Collection'] for model in models}
    # mim takes the collections of one name in several metafiles for one
    collections = [{'Name': name, 'README': 'configs/README.md', 'Paper': f'{title}, {ARXIV}{number}'}
                   for name, (title, number, _) in COLLECTIONS.items() if name in used]
    return yaml.safe_dump({'Collections': collections, 'Models': models}, sort_keys=False, width=100)


def papers_figures(root: Path) -> Dict[str, str]:
    """Accuracies and AP in paper_tables.yml, by config."""
    text, figures = (root / 'tools' / 'analysis' / 'paper_tables.yml').read_text(), {}
    for row in (row for table in yaml.safe_load(text)['tables'] for row in table['rows']):
        printed = [f'{name} {row["printed"][key]}' for key, name in PRINTED.items()
                   if key in row.get('printed', ())]
        if printed:
            figures['configs/' + row['config']] = ', '.join(printed)
    return figures


def seeds(count: int) -> str:
    return f'mean of {count} seeds' if count > 1 else 'one seed'


def reached(model: dict, root: Path, folder: Path) -> str:
    """Results and weights of a model, on a page in ``folder``."""
    results = model.get('Results', ())
    parts = [f'{name} {value} ({seeds(result.get("Seeds", 1))})'
             for result in results for name, value in result['Metrics'].items()]
    weights = root / 'weights' / f'{model["Name"]}.safetensors'
    if weights.is_file():
        several = any(result.get('Seeds', 1) > 1 for result in results)
        label = 'weights of one seed' if several else 'weights'
        parts.append(f'[{label}]({os.path.relpath(weights, folder)})')
    return ', '.join(parts) or 'not trained'


def table(models: List[dict], papers: Dict[str, str], root: Path, folder: Path) -> str:
    lines = [f'| {" | ".join(HEADS)} |', f'|{" --- |" * len(HEADS)}']
    for model in models:
        meta = model['Metadata']
        lines.append(f'| [{model["Name"]}]({os.path.relpath(root / model["Config"], folder)}) | '
                     f'{meta["Epochs"]} | {meta["Parameters"]:,} | {meta["FLOPs"] / 1e9:.3f} | '
                     f'{papers.get(model["Config"], "")} | {reached(model, root, folder)} |')
    return '\n'.join(lines)


def chosen(page: Path, models: Dict[str, dict]) -> List[dict]:
    """The models whose configs a page's table has."""
    begin, end = marks(TOOL)
    part = page.read_text().partition(begin)[2].partition(end)[0]
    names = re.findall(r'\]\((configs/\S+\.py)\)', part)
    unknown = [name for name in names if name not in models]
    if unknown:
        raise UserError(f'{page} has a row of {unknown[0]}, which does not exist: correct it.')
    return [models[name] for name in names]


def render(root: Path, configs: Dict[Path, Config], kept: Kept) -> Dict[Path, str]:
    """The text of every file that this tool writes."""
    papers, files, imports, known = papers_figures(root), {}, [], {}
    kept = Kept(kept.counts, {**kept.results, **read_evidence(root)})
    for folder in folders(root):
        models = [describe(root, path, cfg, kept) for path, cfg in configs.items()
                  if path.parent == folder]
        files[folder / 'metafile.yml'] = metafile(models)
        files[folder / 'README.md'] = with_part(
            folder / 'README.md', TOOL, table(models, papers, root, folder))
        known.update((model['Config'], model) for model in models)
        imports.append(str((folder / 'metafile.yml').relative_to(root)))
    page = root / 'README.md'
    files[page] = with_part(page, TOOL, table(chosen(page, known), papers, root, root))
    files[root / 'model-index.yml'] = yaml.safe_dump({'Import': imports})
    return files


def count(configs: Dict[Path, Config], kept: Kept) -> None:
    """Add to ``kept`` what it lacks."""
    for path, cfg in configs.items():
        if digest(cfg) not in kept.counts:
            print(f'counting {path.stem}', flush=True)
            counted = complexity(cfg, usual_shape(cfg))
            kept.counts[digest(cfg)] = Counts(counted.parameters, counted.flops)


def check(root: Path, configs: Dict[Path, Config], kept: Kept) -> None:
    """Refuse stale files.

    Raises:
        UserError: If there are any.
    """
    stale = [path for path, cfg in configs.items() if digest(cfg) not in kept.counts]
    if not stale:
        stale = [path for path, text in render(root, configs, kept).items()
                 if not path.is_file() or path.read_text() != text]
    if stale:
        names = ', '.join(str(path.relative_to(root)) for path in stale[:3])
        raise UserError(f'metafiles or tables are stale ({names}{", ..." if stale[3:] else ""}): '
                        'run python tools/analysis/make_metafiles.py.')


def main(root: Path = ROOT) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if a file is stale')
    args = parser.parse_args()
    configs, kept = read_configs(root), read_metafiles(root)
    if args.check:
        check(root, configs, kept)
        return
    count(configs, kept)
    for path, text in render(root, configs, kept).items():
        write_text(path, text)


if __name__ == '__main__':
    cli.run(main)
