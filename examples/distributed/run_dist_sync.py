#!/usr/bin/env python
"""Train with several processes on this machine, joined by MXNet's kvstore of type dist_sync.

  python examples/distributed/run_dist_sync.py --iterations 60
  python examples/distributed/run_dist_sync.py --script examples/train_mask_rcnn.py

Starts a scheduler, a server, which holds the weights, and the workers, which train; all arguments
but --script and --workers are theirs. When one process fails or is killed, the others are ended.

Several machines: choose one for scheduler and server, and on all of them set ADDRESS to its
address, PORT to a port that is free there and open to the others, and INTERFACE to the network
interface that reaches it (see `ip addr`). Start the roles by hand, each with the environment that
`role_environment` returns for the number of workers on all machines: scheduler and server, with
`python -c "import rpn_target"`, on the chosen machine, and on every machine its workers. One server
for each machine is usual. MXNet has no timeout: if a machine is lost, end the others by hand.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from launch import parse

ADDRESS = "127.0.0.1"
PORT = None  # any that is free
INTERFACE = "lo"

HELPERS = ("scheduler", "server")
# A process with such a role plays it as soon as MXNet is imported, until the workers are done.
HELP = ("-c", "import rpn_target")
GRACE = 10  # seconds for a process to end by itself when it is told to, or its work is done


def role_environment(role, num_workers, port):
    """Return the environment of a scheduler, server or worker."""
    return dict(
        os.environ,
        DMLC_ROLE=role,
        DMLC_PS_ROOT_URI=ADDRESS,
        DMLC_PS_ROOT_PORT=str(port),
        DMLC_INTERFACE=INTERFACE,
        DMLC_NUM_SERVER="1",
        DMLC_NUM_WORKER=str(num_workers),
    )


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        return listener.getsockname()[1]


def start(command, environment):
    """Start a process as the head of a group, so that its own children can be ended with it."""
    return subprocess.Popen([sys.executable, *command], env=environment, start_new_session=True)


def watch(processes):
    """Wait until all processes, a dict by name, are done; returns the name of one that fails."""
    while True:
        for name, process in processes.items():
            if process.poll():
                return name
        if all(process.poll() == 0 for process in processes.values()):
            return None
        time.sleep(0.2)


def end(processes, number):
    """Send a signal to groups of processes, and kill what is still there after a while."""
    for process in processes:
        send(process, number)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.1)
    for process in processes:
        send(process, signal.SIGKILL)  # also what a process that is gone has left behind
        process.wait()


def send(process, number):
    """Send a signal to a group of processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def how_it_ended(status):
    """Say in words what the exit status of a process means."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"


def main(argv=None):
    """Run the command line and return the exit status."""
    parser, num_workers, work = parse(__doc__, ["--kv-store", "dist_sync"], argv)
    port = PORT or free_port()
    roles = {name: HELP for name in HELPERS}
    for number in range(num_workers):
        roles[f"worker {number}"] = work
    processes, stop = {}, signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for name, command in roles.items():
            environment = role_environment(name.split()[0], num_workers, port)
            processes[name] = start(command, environment)
        failed = watch(processes)
        if failed is None:
            return 0
        status = processes[failed].returncode
        print(
            f"{parser.prog}: {failed} (process {processes[failed].pid}) {how_it_ended(status)}; "
            "ending the others",
            file=sys.stderr,
            flush=True,
        )
        return status if status > 0 else 128 - status
    except KeyboardInterrupt:
        stop = signal.SIGINT
        return 128 + signal.SIGINT
    finally:
        # The workers first: they cannot go on without the others, and would say so at length.
        end([process for name, process in processes.items() if name not in HELPERS], stop)
        end([process for name, process in processes.items() if name in HELPERS], signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
