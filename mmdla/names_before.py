"""Names of tensors and arguments in checkpoints of mmdla 0.1, and their present ones."""
import re
from typing import Dict, Iterable

PREFIX = r'^(backbone\.|)'
PARTS = (r'(?:layers|norms|shortcut_norms|context_unit|excite|initial_context|from_branch|recurrent)\b')
OLD = re.compile(rf'{PREFIX}(?:(?:layer\d\.)?attention\.{PARTS}|hidden_norm\.)')


def present_names(names: Iterable[str]) -> Dict[str, str]:
    """Present names by the old ones, for those tensors of a backbone or a whole model that have one."""
    names = list(names)
    if not any(map(OLD.match, names)):
        return {}
    stages = (re.match(rf'{PREFIX}layer(\d)\.', name) for name in names)
    last = max((int(match[2]) - 1 for match in stages if match), default=0)
    dla = any(re.search(r'attention\.layers\.', name) for name in names)  # and not LII
    rules = [
        (rf'{PREFIX}layer(\d)\.attention\.(?={PARTS})',
         lambda m: f'{m[1]}attention.{int(m[2]) - 1}.'),
        (rf'{PREFIX}attention\.({PARTS})', r'\1attention.0.\2'),
        (rf'{PREFIX}hidden_norm\.', rf'\1attention.{last}.output.0.'),
        (rf'{PREFIX}(attention\.\d\.layers\.\d+)\.lambda_t$', r'\1\2.lambda_l'),
        (rf'{PREFIX}(attention\.\d)\.initial_context$', r'\1\2.context.initial'),
    ]
    if dla:
        rules.append((rf'{PREFIX}(attention\.\d)\.context_unit\.', r'\1\2.context.unit.'))
    found = {}
    for name in names:
        present = name
        for pattern, replacement in rules:
            present = re.sub(pattern, replacement, present)
        if present != name:
            found[name] = present
    return found


def present_config(config: dict) -> dict:
    """A backbone's config with the present names of its arguments."""
    config = dict(config)
    if 'gate' in config:
        given = config.pop('gate')
        config['refresh_by'] = dict(sigmoid='output', identity='context').get(given, given)
    unit = config.get('context_unit')
    if isinstance(unit, dict) and 'gates' in unit:
        config['context_unit'] = {('form' if name == 'gates' else name): value
                                  for name, value in unit.items()}
    return config
