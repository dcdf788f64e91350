"""warm: a forked kernel is a kernel like any other, and it ends with its job."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from ipa_lib.files import ROOT

PARAMETERS = "how: str = 'well'  # how it goes"
PARENT = "import os\nprint(os.getppid())"
SLEEP = "import time\ntime.sleep(60 if how == 'slowly' else 0)"
CRASH = "import signal\nif how == 'badly':\n    os.kill(os.getpid(), signal.SIGSEGV)"
STATE = """
import json, logging, os, sys, tempfile
import matplotlib, torch
print([name for name in sys.modules if name.startswith("ipa_lib")])
print(hash("a"), torch.get_num_threads(), os.getcwd(), os.getpgid(0) == os.getpid(), os.umask(0))
print(sys.path, sys.argv[1], len(sys.argv), tempfile.gettempdir(), matplotlib.get_backend())
"""
BAR = "from tqdm.auto import tqdm\nprint(tqdm.__mro__)"
WARNING = "import transformers\ntransformers.utils.logging.get_logger('transformers').warning('careful')"
DRAW = "import torch\ntorch.manual_seed(0)\nprint((torch.randn(64, 64) @ torch.randn(64, 64)).tolist()[7])"
FIGURE = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 1))\nlines = ax.plot([1, 2], [3, 4])"
CHANCE = "import random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1).item())"
VALUES = "import os\nprint(*(os.environ.get(name) for name in ('OMP_NUM_THREADS', 'RANK', 'IPA_NOTE')))"
PROVENANCE = "import json\nfrom ipa_lib.workflow import provenance\nprint(json.dumps(provenance.provenance(0, '', '')))"


@pytest.fixture
def start(tmp_path, warm_server):
    """Function that starts a job of these cells; its copy is `start.output(name)`."""

    def start(*cells, how="well", name="a", **variables):
        path = tmp_path / f"{name}.ipynb"
        cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *cells)]
        cells[0].metadata["tags"] = ["parameters"]
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
        command = [sys.executable, "-m", "ipa_lib.workflow.runs", str(path), str(output(name)), "-q", "-p", "how", how]
        environment = warm_server[2] | {"IPA_WARM": str(warm_server[0])} | variables
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    def output(name="a"):
        return tmp_path / "out" / f"{name}.ipynb"

    start.output = output
    return start


def finished(job, code=0):
    stderr = job.communicate(timeout=120)[1]
    assert job.returncode == code, stderr
    return stderr


def outputs(path):
    """What each cell but the first gave: text, or pictures."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [[out.get("text") or dict(out["data"]) for out in cell.outputs] for cell in cells if cell.outputs]


def kernels(warm_server):
    return psutil.Process(warm_server[1].pid).children()


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_forked_kernel_gives_what_one_of_its_own_gives(start, warm_server):
    cells = (STATE, BAR, WARNING, DRAW, FIGURE)
    finished(start(PARENT, *cells, name="warm"))
    finished(start(PARENT, *cells, name="cold", IPA_WARM="nowhere"))
    (forked, *results), (own, *expected) = outputs(start.output("warm")), outputs(start.output("cold"))
    assert forked == [f"{warm_server[1].pid}\n"] != own
    assert len(results) == len(cells) and results == expected


def test_two_at_a_time_differ_in_what_is_left_to_chance(start, warm_server):
    jobs = [start(PARENT, CHANCE, "import time\ntime.sleep(1)", name=name) for name in "ab"]
    wait_for(lambda: len(kernels(warm_server)) == 2)
    for job in jobs:
        finished(job)
    (first, *chance), (second, *other) = outputs(start.output("a")), outputs(start.output("b"))
    assert first == second == [f"{warm_server[1].pid}\n"] and not {*chance[0][0].split()} & {*other[0][0].split()}


@pytest.mark.parametrize(("variables", "forked"), [
    ({"IPA_NOTE": "here"}, True), ({"OMP_NUM_THREADS": "2"}, False), ({"RANK": "0"}, False),
    ({"HF_TOKEN": "none"}, False)])  # fmt: skip
def test_the_variables_of_the_job_reach_its_kernel(start, warm_server, variables, forked):
    finished(start(PARENT, VALUES, **variables))
    (parent,), (values,) = outputs(start.output())
    assert (parent == f"{warm_server[1].pid}\n") == forked
    wanted = {"OMP_NUM_THREADS": "1", **variables}
    assert values.split() == [wanted.get(name, "None") for name in ("OMP_NUM_THREADS", "RANK", "IPA_NOTE")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_kernel_of_a_killed_job_ends(start, warm_server, number):
    job = start(SLEEP, how="slowly")
    wait_for(lambda: kernels(warm_server))
    (kernel,) = kernels(warm_server)
    job.send_signal(number)
    finished(job, {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -signal.SIGKILL}[number])
    wait_for(lambda: not kernel.is_running())
    left = {file.name for file in start.output().parent.iterdir()} - {".a.lock"}
    assert not left or number == signal.SIGKILL  # the next run sweeps this up
    finished(start(PARENT))
    assert {file.name for file in start.output().parent.iterdir()} - {".a.lock"} == {"a.ipynb"}


def test_a_crash_is_one_line_and_the_next_job_is_served(start, warm_server):
    line = f"{start.output().parent.parent / 'a.ipynb'}: the kernel died; was there enough memory?"
    assert finished(start(PARENT, CRASH, how="badly"), 1).splitlines()[-1] == line
    finished(start(PARENT))
    assert outputs(start.output()) == [[f"{warm_server[1].pid}\n"]]


def test_who_sends_rubbish_or_nothing_stops_nobody(start, warm_server):
    for sent in (b"", b"x", b" {}\n", b" rubbish\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.relpath(warm_server[0]))
            connection.sendall(sent)
    finished(start(PARENT))
    assert outputs(start.output()) == [[f"{warm_server[1].pid}\n"]]


def test_the_socket_is_this_user_s_alone(warm_server):
    assert stat.S_IMODE(warm_server[0].stat().st_mode) == 0o600


def test_provenance_counts_from_the_fork(start):
    finished(start(PROVENANCE))
    kept = json.loads(outputs(start.output())[0][0])
    assert 0 < kept["wall_time"] < 20 and 10**8 < kept["peak_memory"] < 10**9


def test_the_server_ends_with_the_process_that_started_it(tmp_path, warm_server):
    script = f"{sys.executable} -m ipa_lib.workflow.warm {tmp_path / 'socket'} $$ & echo $!; sleep 1"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=warm_server[2], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: not psutil.pid_exists(int(done.stdout)))
    assert not (tmp_path / "socket").exists()
