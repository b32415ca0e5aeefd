"""A hook of mkdocs: links from a page to files outside docs/ become their paths, and must exist."""
import logging
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
log = logging.getLogger('mkdocs.hooks.site_links')


def on_page_markdown(markdown, page, config, files):
    folder = (DOCS / page.file.src_uri).parent

    def outside(match):
        text, target = match.groups()
        path = (folder / target.partition('#')[0]).resolve()
        served = path.is_relative_to(DOCS) and path.suffix != '.py' and path.is_file()
        if '://' in target or target.startswith('#') or served:
            return match[0]
        if not path.exists():
            log.warning('%s links to %s, which does not exist', page.file.src_uri, target)
            return match[0]
        name = str(path.relative_to(ROOT))
        return f'`{name}`' if text.strip('`') in name else f'{text} (`{name}`)'

    return re.sub(r'(?<!!)\[([^\]]*)\]\(([^)\s]+)\)', outside, markdown)
