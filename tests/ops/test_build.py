"""python -m mmdla.ops.build: one line whatever happens, and nothing half-made. No real compiler runs."""
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mmdla.errors import UserError, run
from mmdla.ops import build as builder
from mmdla.ops.backend import is_cut, kernels, library
from mmdla.ops.build import SOURCES, build

# writes the file after -o, and a line to `calls`
COMPILER = """#!/bin/sh
echo call >> "{folder}/calls"
{body}
while [ "$1" != -o ]; do shift; done
echo made > "$2"
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The cache folder, not made yet, in place of the user's."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'mmdla'


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Makes a compiler of a line of shell, and lets CXX name it."""

    def make(body='true'):
        path = tmp_path / 'fake-c++'
        path.write_text(COMPILER.format(folder=tmp_path, body=body))
        path.chmod(0o755)
        monkeypatch.setenv('CXX', str(path))
        return path
    return make


def refused(*words):
    with pytest.raises(UserError) as error:
        build()
    message = str(error.value)
    assert '\n' not in message and message.startswith('the CPU kernels are not built, because ')
    for word in words:
        assert word in message


def leaves_nothing(cache):
    return not library().exists() and not list(cache.glob('scratch_*'))


def test_one_line_each_time(monkeypatch, capfd, fake, cache):
    fake('echo a word of the compiler; echo a warning >&2')
    monkeypatch.setattr(builder, 'kernels', lambda: None)
    monkeypatch.setattr(sys, 'argv', ['build'])
    run(builder.main)
    out, err = capfd.readouterr()
    assert re.fullmatch(rf'built {re.escape(str(library()))} \(\d+ s\)\n', out) and not err
    run(builder.main)
    assert capfd.readouterr() == (f'{library()} is there\n', '')
    log = (cache / 'build.log').read_text()
    assert log.count('a word of the compiler') == log.count('a warning') == len(SOURCES) + 1
    assert library().read_text() == 'made\n' and library().parent == cache
    assert {path.name for path in cache.iterdir()} == {'build.lock', 'build.log', library().name}


def test_a_library_that_cannot_be_loaded(fake):
    fake()
    process = subprocess.run([sys.executable, '-m', 'mmdla.ops.build'], capture_output=True, text=True)
    assert process.returncode == 1 and not process.stdout
    assert re.fullmatch(r'error: the CPU kernels are built, but .* cannot be loaded.*\n', process.stderr)


@pytest.fixture
def cut(cache):
    """A library of which the second half is missing."""
    cache.mkdir(parents=True)
    content = Path(torch._C.__file__).read_bytes()
    library().write_bytes(content[:len(content) // 2])
    return library()


def test_a_library_that_is_cut_is_not_loaded(cut):
    with pytest.warns(UserWarning, match='cannot be loaded .a part of it is missing.: .* run python -m'):
        assert kernels.__wrapped__() is None


def test_a_library_that_is_cut_is_built_again(fake, cut):
    fake()
    assert build() is not None and cut.read_text() == 'made\n'
    assert build() is None


def test_how_a_cut_library_is_known(cut):
    whole = Path(torch._C.__file__)
    assert not is_cut(whole) and is_cut(cut)
    for size in (64, 20, 0):
        cut.write_bytes(whole.read_bytes()[:size])
        assert is_cut(cut)
    cut.write_text('no library at all')
    assert not is_cut(cut)


def test_one_line_of_a_failure(monkeypatch, capfd, fake):
    fake('echo no such header >&2; exit 1')
    monkeypatch.setattr(sys, 'argv', ['build'])
    with pytest.raises(SystemExit, match='^error: the CPU kernels are not built, .*build.log.*[.]$'):
        run(builder.main)
    assert capfd.readouterr() == ('', '')


def test_the_cache_folder_of_a_home(monkeypatch, tmp_path):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert library().parent == tmp_path / '.cache' / 'mmdla'


def test_sources_are_all_compiled():
    assert sorted(SOURCES) == sorted(path.name for path in builder.CSRC.glob('*.cpp'))


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    refused('no C++ compiler was found', 'install g++ (apt install g++)')


def test_a_compiler_that_is_not_there(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-c++ -pipe')
    refused('the compiler no-such-c++, which CXX names, was not found')


def test_a_compiler_that_cannot_start(fake, cache):
    fake().write_bytes(b'\x7fELF of another machine')
    refused('cannot be started (Exec format error)', 'CXX')
    assert leaves_nothing(cache)


@pytest.mark.parametrize('body', ['exit 1', '[ "$1" != -shared ] || exit 1'], ids=['compile', 'link'])
def test_a_compiler_that_fails(fake, cache, body):
    path = fake(f'echo it does not like this; {body}')
    refused(f'{path}, which CXX names, failed', f'see {cache / "build.log"}')
    assert 'it does not like this' in (cache / 'build.log').read_text()
    assert leaves_nothing(cache)


def test_a_file_in_the_way(fake, cache):
    fake()
    cache.parent.mkdir()
    cache.write_text('')
    refused(f'{cache} cannot be written to (File exists)', 'set XDG_CACHE_HOME to a writable folder')


@pytest.mark.parametrize('number', [errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_written(monkeypatch, fake, cache, number):

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))
    fake()
    monkeypatch.setattr(builder.tempfile, 'TemporaryDirectory', fail)
    refused(f'{cache} cannot be written to ({os.strerror(number)})', 'set XDG_CACHE_HOME')


@pytest.mark.parametrize('home', ['', 'cache'])
def test_a_home_that_is_not_known(monkeypatch, home):
    monkeypatch.setenv('XDG_CACHE_HOME', home)
    monkeypatch.setattr(os.path, 'expanduser', lambda path: path)
    refused('is no absolute path', 'set XDG_CACHE_HOME')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_a_full_disk_for_the_log(fake, cache):
    fake()
    cache.mkdir(parents=True)
    (cache / 'build.log').symlink_to('/dev/full')
    refused(f'the disk of {cache} is full', 'free 100 MB')
    assert leaves_nothing(cache)


def test_a_full_disk_for_the_compiler(fake, cache):
    fake('echo "error writing to x.s: No space left on device" >&2; exit 1')
    refused(f'the disk of {cache} is full')
    assert leaves_nothing(cache)


def build_twice():
    """At once; how often a build found the library there."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(build() is None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    return sum(found)


def test_two_builds_at_once_compile_once(fake, tmp_path):
    fake('sleep 0.1')
    assert build_twice() == 1
    assert library().read_text() == 'made\n'
    assert len((tmp_path / 'calls').read_text().split()) == len(SOURCES) + 1


def test_two_builds_without_locks_do_no_harm(monkeypatch, fake, cache):

    def fail(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    fake('sleep 0.1')
    monkeypatch.setattr(builder.fcntl, 'flock', fail)
    build_twice()
    assert library().read_text() == 'made\n' and not list(cache.glob('scratch_*'))


def running(pid):
    try:
        with open(f'/proc/{pid}/stat') as stat:
            return stat.read().rsplit(')')[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_build_that_is_interrupted(fake, cache, tmp_path):
    fake(f'sleep 30 & echo $! >> {tmp_path}/pids; wait')
    process = subprocess.Popen([sys.executable, '-m', 'mmdla.ops.build'], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    pids = tmp_path / 'pids'
    while not pids.exists() or len(pids.read_text().split()) < min(os.cpu_count(), len(SOURCES)):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, '', 'interrupted\n')
    assert leaves_nothing(cache)
    time.sleep(0.2)
    assert not any(running(pid) for pid in pids.read_text().split())


def test_a_build_that_was_killed_keeps_nobody_waiting(fake, cache):
    fake()
    (cache / 'scratch_left').mkdir(parents=True)
    (cache / 'scratch_left' / library().name).write_text('half')
    (cache / 'build.lock').write_text('')
    os.utime(cache / 'scratch_left', (0, 0))
    (cache / 'scratch_of_another_machine').mkdir()
    assert build() is not None
    assert library().read_text() == 'made\n'
    assert [path.name for path in cache.glob('scratch_*')] == ['scratch_of_another_machine']
