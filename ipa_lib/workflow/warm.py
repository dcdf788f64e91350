"""Kernels forked from one warm process: a stage of a workflow starts in a second, where imports take two to eight.

    python -m ipa_lib.workflow.warm .run/warm $$ &    # scripts/snakemake.sh: a server that ends with process $$

The server imports the packages that the stages import, but not ipa_lib, which every stage reads as it lies on disk. It
runs no cell, has one thread and touches no GPU. For each request on its Unix socket it forks a child, which takes over
environment, folder and outputs of the job that asks and becomes its kernel. Papermill executes as before, in the job's
own process: a provisioner of jupyter_client gets it the kernel from the socket that IPA_WARM names.

A job starts a kernel of its own where no server answers, or where its environment differs from the server's in what an
import may read, such as the number of threads. The connection is a leash: where the job ends, so does its kernel, and
where the kernel ends, papermill sees it. scripts/snakemake.sh starts no server where there is a GPU or where stages are
jobs of a cluster; IPA_WARM=off in the environment keeps it from that, too.
"""

import gc
import json
import logging
import os
import pkgutil
import select
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path

import psutil
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from .runs import KERNEL_ENVIRONMENT

ONE_THREAD = dict.fromkeys((  # as Snakemake has it for a job
    "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS"), "1")  # fmt: skip
MAY_DIFFER = ("IPA_", "JPY_", "PYTEST_", "TMP", "TEMP", "PWD", "OLDPWD", "SHLVL", "_")  # first letters of what may
AT_IMPORT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as ipykernel has it
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # of pandas' Arrow: a fork would not take the thread along
}
IMPORTS = """
    ipykernel.kernelapp accelerate.Accelerator matplotlib.pyplot seaborn
    safetensors.torch torch.utils.data diffusers.StableDiffusionPipeline diffusers.DDIMScheduler
    transformers.CLIPImageProcessorPil transformers.CLIPTextModel transformers.CLIPTokenizer
    transformers.CLIPVisionModelWithProjection transformers.RegNetForImageClassification
""".split()  # ipykernel first: the bars of tqdm.auto are then a notebook's


# --- the server ---


def main(path: str, parent: int) -> int:
    """Serve on the socket `path` while the process `parent` lives; in a child, be the kernel that was asked for."""
    if (environment := KERNEL_ENVIRONMENT | dict(os.environ) | ONE_THREAD) != os.environ:  # read as a process starts
        os.execve(sys.executable, [sys.executable, "-m", "ipa_lib.workflow.warm", path, str(parent)], environment)
    path = os.path.relpath(path)  # the name of a socket has 107 letters at most
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        mask = os.umask(0o177)  # for this user alone
        listener.bind(path)
        os.umask(mask)
        listener.listen(64)  # who comes early waits
        request = serve(listener, parent)
    if request:
        become_kernel(*request)
    else:
        Path(path).unlink(missing_ok=True)
    return 0


def serve(listener: socket.socket, parent: int) -> tuple | None:
    """Fork a child for each request that fits; in the child, what `become_kernel` takes; None when `parent` is gone."""
    given = dict(os.environ)
    preload()
    by_imports = {name: value for name, value in os.environ.items() if given.get(name) != value}
    while os.getppid() == parent:
        if not select.select([listener], [], [], 1)[0]:
            continue
        connection, outputs = listener.accept()[0], []
        with connection, suppress(OSError, ValueError, KeyError):
            connection.settimeout(10)
            outputs = socket.recv_fds(connection, 1, 2)[1]
            request = json.loads(connection.makefile().readline())
            if fits(request, given) and not os.fork():
                return connection.dup(), outputs, request | {"env": request["env"] | by_imports}
        for file in outputs:
            os.close(file)
    return None


def preload() -> None:
    """Forget ipa_lib and what it has imported of tqdm; import `IMPORTS`. RuntimeError where that starts a thread."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("ipa_lib", "tqdm")]:
        del sys.modules[name]
    del sys.path[: not sys.flags.safe_path]  # the folder that `python -m` looks in
    for name, value in AT_IMPORT.items():
        os.environ.setdefault(name, value)
    for name in IMPORTS:
        with suppress(ImportError, AttributeError):  # what is not installed
            pkgutil.resolve_name(name)
    if (threads := psutil.Process().num_threads()) > 1:
        raise RuntimeError(f"{threads} threads after the imports: a fork would take one of them along")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    gc.freeze()


def fits(request: dict, given: dict[str, str]) -> bool:
    """Tell whether a kernel of the job's own would read the same from its environment as it imports."""
    wanted = request["env"]
    differing = [name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name)]
    reasons = [name for name in differing if not name.startswith(MAY_DIFFER)]
    python, *module = request["argv"][:3]
    if Path(python).parent.resolve() != Path(sys.executable).parent.resolve() or module != ["-m", "ipykernel_launcher"]:
        reasons.append(" ".join(request["argv"]))  # of another environment; a link to this one is this one
    if reasons:
        print("a kernel of its own, for", *reasons, file=sys.stderr)  # .run/warm.log
    return not reasons


def become_kernel(connection: socket.socket, outputs: list[int], request: dict) -> None:
    """Do what `python -m ipykernel_launcher` does, in this process, with environment, folder and outputs of the job."""
    import numpy as np
    import torch
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv, tempfile.tempdir = request["argv"][2:], None
    np.random.seed()  # what is left to chance differs between kernels; Python's own generator sees to that by itself
    torch.default_generator.seed()
    connection.settimeout(None)
    connection.sendall(b"%d\n" % os.getpid())
    threading.Thread(target=end_with, args=[connection], daemon=True).start()
    logs = [log for name in [*logging.root.manager.loggerDict] for log in logging.getLogger(name).handlers]
    IPKernelApp.instance().initialize(sys.argv[1:])
    for log in logs:  # of packages that took the stderr there was at their import
        if getattr(log, "stream", None) is sys.__stderr__:
            log.setStream(sys.stderr)
    IPKernelApp.instance().start()


def end_with(connection: socket.socket) -> None:
    """End this kernel and its children when the job's end of the connection is gone."""
    with suppress(ConnectionError):
        connection.recv(1)  # the job sends nothing more
    os.killpg(os.getpgrp(), signal.SIGKILL)


# --- the job ---


def fork_kernels() -> None:
    """Let papermill have its kernels from the server that IPA_WARM names, while there is one."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["warm"] = EntryPoint("warm", f"{__name__}:WarmProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "warm"


class ForkedKernel:
    """A kernel of the server, with what jupyter_client uses of `subprocess.Popen`. OSError where there is none."""

    stdin = stdout = stderr = returncode = None

    def __init__(self, path: str, argv: list[str], env: dict[str, str], cwd: str):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(60)  # also for the server's imports
        self.connection.connect(os.path.relpath(path))
        socket.send_fds(self.connection, [b" "], [1, 2])
        self.connection.sendall(json.dumps({"argv": argv, "env": env, "cwd": cwd}).encode() + b"\n")
        if not (answer := self.connection.makefile().readline()):
            raise ConnectionError
        self.pid = int(answer)
        self.connection.setblocking(False)

    def poll(self) -> int | None:
        """None while the kernel lives; it never sends anything after its process id."""
        if self.returncode is None:
            with suppress(ConnectionError):
                try:
                    self.connection.recv(1)
                except BlockingIOError:
                    return None
            self.returncode = 1
        return self.returncode

    wait = poll  # jupyter_client waits for an ended one alone

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel while it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)


class WarmProvisioner(LocalProvisioner):
    """A kernel of the server, else a process of its own."""

    async def launch_kernel(self, cmd: list[str], **kwargs):
        self.cwd = str(kwargs.get("cwd") or Path.cwd())
        try:
            self.process = ForkedKernel(os.environ.get("IPA_WARM", ""), cmd, kwargs["env"], self.cwd)
        except (OSError, ValueError):
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
