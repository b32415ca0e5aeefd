"""Starts a tool in several processes, as tools/dist_train.sh and dist_test.sh do.

    python -m mmdla.engine.launch PROCESSES TOOL [arguments of the tool]

A front of torchrun that adds nothing to what a failing process says itself. NNODES, NODE_RANK,
MASTER_ADDR and PORT come from the environment.
"""
import errno
import logging
import os
import signal
import socket
import sys

from torch.distributed import DistNetworkError, DistStoreError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from mmdla.errors import UserError, reason, run


def number(name: str, default: int, least: int, most: int) -> int:
    """A whole number from the environment."""
    value = os.environ.get(name) or str(default)
    if not (value.isdecimal() and least <= int(value) <= most):
        raise UserError(f'{name} must be a whole number from {least} to {most}; got {value!r}.')
    return int(value)


def check_port(port: int) -> None:
    """Refuse a port of this machine that another program listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
        except OSError as error:
            why = 'in use' if error.errno == errno.EADDRINUSE else f'not free ({error.strerror})'
            raise UserError(f'port {port} of this machine is {why}: set PORT to another one, such as '
                            f'PORT={port + 1 if port < 65535 else 29500}.') from error


def main() -> None:
    processes, *command = sys.argv[1:]
    nodes = number('NNODES', 1, 1, 2**16)
    node = number('NODE_RANK', 0, 0, nodes - 1)
    address, port = os.environ.get('MASTER_ADDR') or '127.0.0.1', number('PORT', 29500, 1, 65535)
    if node == 0:
        check_port(port)
    logging.disable(logging.ERROR)
    try:
        torchrun([f'--nproc_per_node={processes}', f'--nnodes={nodes}', f'--node_rank={node}',
                  f'--master_addr={address}', f'--master_port={port}', *command])
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(f'process {rank} was ended by {signal.Signals(-failure.exitcode).name}: see '
                            'what it said last; SIGKILL often means that memory was full.') from failed
        sys.exit(failure.exitcode)
    except (DistNetworkError, DistStoreError) as error:
        raise UserError(f'the processes cannot meet at {address}:{port} ({reason(error)}): set '
                        'MASTER_ADDR and PORT to those of the first machine, on each.') from error
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)


if __name__ == '__main__':
    run(main)
