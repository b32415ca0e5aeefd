from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def version():
    scope = {}
    exec((ROOT / 'mmdla' / 'version.py').read_text(), scope)
    return scope['__version__']


setup(
    name='mmdla',
    version=version(),
    description='Cross-layer attention backbones (DLA, MRLA) for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    author='mmdla contributors',
    keywords='attention, layer attention, backbone, object detection, image classification, ResNet, '
             'OpenMMLab, mmdet, mmpretrain, timm, PyTorch',
    project_urls={
        'DLA (IJCAI 2024)': 'https://arxiv.org/abs/2406.13392',
        'MRLA (ICLR 2023)': 'https://arxiv.org/abs/2302.03985',
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: C++',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['mmdla', 'mmdla.*']),
    # configs and tools travel in mmdla/.mim, where mim looks for them
    package_data={
        'mmdla': ['.mim/**/*', '.mim/configs/**/*', '.mim/tools/**/*', 'ops/csrc/*.cpp', 'ops/csrc/*.h'],
    },
    entry_points={'console_scripts': ['mmdla = mmdla.__main__:main']},
    install_requires=requirements('runtime'),
    extras_require={
        name: requirements(name)
        for name in ('onedl', 'openmmlab', 'timm', 'deploy', 'docs', 'tests', 'lint')},
)
