#!/usr/bin/env python
"""Train with several processes on this machine, joined by Horovod (with Gloo, without MPI).

  python examples/distributed/run_horovod.py --iterations 60
  python examples/distributed/run_horovod.py --script examples/train_mask_rcnn.py

Horovod must be built for the installed MXNet; `tox -e py311-horovod` in the checkout does so, and
tox.ini shows how. All arguments but --script and --workers are the script's. When one process
fails or is killed, horovodrun ends the others.

Several machines: they need the same files in the same places, and ssh without a password from
this one to all. Set HOSTS to their names with the number of processes on each, such as
"one:4,two:4", INTERFACE to the network interface that joins them (see `ip addr`), and open all
ports between them: Gloo takes any. On GPUs, Horovod is usually built with NCCL; see its guide.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from launch import parse

HOSTS = None  # this machine
INTERFACE = "lo"


def main(argv=None):
    """Become horovodrun."""
    parser, num_workers, work = parse(__doc__, ["--horovod"], argv)
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    horovodrun = shutil.which("horovodrun", path=path)
    if horovodrun is None:
        parser.error("needs Horovod, built for MXNet; see tox.ini for how")

    hosts = HOSTS or f"localhost:{num_workers}"
    # In one piece: horovodrun would take the script's options for abbreviations of its own.
    command = [
        horovodrun, "-np", str(num_workers), "--gloo", "--network-interfaces", INTERFACE,
        "-H", hosts, "sh", "-c", "exec " + " ".join(map(shlex.quote, [sys.executable, *work])),
    ]  # fmt: skip
    os.execv(horovodrun, command)


if __name__ == "__main__":
    sys.exit(main())
