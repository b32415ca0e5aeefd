"""Links of the documentation, and the site."""
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')] + sorted(
    [*(ROOT / 'docs').rglob('*.md'), *(ROOT / 'configs').rglob('README.md')])
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
NAMED = re.compile(r'(?<![\w/.])(?:configs|tools|tests|mmdla|docs)/[\w/.-]+\.(?:py|sh|md|json)\b')


def anchors(page):
    """The names of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S)
    for heading in re.findall(r'^#+ (.*)$', text, re.M):
        plain = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).replace('`', '').lower()
        yield re.sub(r'[^\w\- ]', '', plain).strip().replace(' ', '-')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S)
    for link in LINK.findall(text):
        if '://' in link:
            continue
        target, _, anchor = link.partition('#')
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if anchor and path.suffix == '.md':
            assert anchor in set(anchors(path)), link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named(page):
    """Configs, tools and tests in the text, wherever no link shows that they are gone."""
    for name in NAMED.findall(page.read_text()):
        assert (ROOT / name).exists(), name


def test_every_page_is_in_the_navigation():
    navigation = set(re.findall(r'(\w+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.M))
    pages = {str(path.relative_to(ROOT / 'docs')) for path in (ROOT / 'docs').rglob('*.md')}
    assert pages == navigation


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 130


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec('mkdocs') is None, reason='needs requirements/docs.txt')
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path],
                          cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / 'api' / 'index.html').is_file()
