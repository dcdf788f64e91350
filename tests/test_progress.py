"""What a run shows: a line a stage, how far the running ones are, how it ended; Snakemake's own words are in a log."""

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import pytest

from ipa_lib import bars
from ipa_lib.files import ROOT
from ipa_lib.workflow import progress

TABLE = """
Building DAG of jobs...
Job stats:
job         count
--------  -------
data            1
train           2
generate        2
all             1
total           6

"""


def started(job, rule, log="", **wildcards):
    lines = [f"localrule {rule}:", "    input: a, b", f"    log: {log}", f"    jobid: {job}", "    reason: Missing"]
    lines += ["    wildcards: " + ", ".join(f"{key}={value}" for key, value in wildcards.items())] * bool(wildcards)
    return "\n".join(["[Tue Dec  1 09:46:32 2026]", *lines, "    resources: tmpdir=/tmp, gpu=1", ""])


def ended(job, rule):
    return f"[Tue Dec  1 09:46:56 2026]\nFinished jobid: {job} (Rule: {rule})\n4 of 6 steps (66%) done\n"


def error(job, rule):
    said = "RuleException:\nCalledProcessError in file x, line 3:\n"
    return f"{said}Error in rule {rule}:\n    message: None\n    jobid: {job}\n"


class Clock:
    """Seconds that a test sets."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def run():
    """A workflow, its report, what this has written, and `tell(seconds, text)`: then Snakemake prints `text`."""
    clock, stream = Clock(), io.StringIO()
    workflow = progress.Workflow(clock)
    report = progress.Report(workflow, progress.Screen(stream, live=False), "mini", {})

    def tell(seconds, text):
        clock.seconds = seconds
        for line in text.splitlines():
            report.read(line)

    return workflow, report, stream, tell


def seen(text):
    """What is on a terminal in the end: an oracle for the two sequences that are used."""
    screen = []
    for part in re.split(r"(\x1b\[\d+A\x1b\[J)", text):
        if match := re.match(r"\x1b\[(\d+)A", part):
            screen = screen[: -int(match[1])]
        else:
            assert "\x1b" not in part
            screen += part.splitlines()
    return screen


def test_the_plan_comes_first_and_leaves_targets_out(run):
    *_, stream, tell = run
    tell(2, TABLE)
    assert stream.getvalue() == "mini: 5 stages to run: data, 2 × training, 2 × pictures\n"


def test_a_stage_that_has_finished_is_one_line(run):
    workflow, report, stream, tell = run
    tell(2, TABLE + started(7, "data"))
    tell(15, ended(7, "data") + started(1, "train", adapter="mean-own-n2r-s0"))
    tell(15.2, started(2, "train", adapter="sum-own-n2r-s0"))
    tell(200, ended(2, "train") + ended(1, "train"))
    tell(260, started(3, "generate", adapter="mean-own-n2r-s0", cell="n2-w1") + ended(3, "generate"))
    rows = [re.split(r"\s{2,}", line.strip()) for line in stream.getvalue().splitlines()[1:]]
    assert rows == [
        ["1/5", "data", "13 s"],
        ["2/5", "training sum-own-n2r-s0", "3 min 05 s"],
        ["3/5", "training mean-own-n2r-s0", "3 min 05 s"],
        ["4/5", "pictures n2-w1 of mean-own-n2r-s0", "0 s"],
    ]


def test_what_a_job_prints_is_no_event(run):
    workflow, report, stream, tell = run
    tell(0, TABLE + started(7, "data"))
    tell(1, "Executing: 10%\nrule of thumb:\nall 5\n\n    jobid: 9\nError in rule\n")
    assert list(workflow.running) == [7] and not workflow.failed and workflow.total == 5


def test_a_failed_stage_is_said_once_and_the_others_go_on(run, tmp_path):
    workflow, report, stream, tell = run
    tell(0, TABLE + started(1, "train", adapter="a") + started(2, "train", adapter="b"))
    tell(5, "main.tex:12: no such key\n" + error(1, "train") + error(1, "train"))
    tell(9, ended(2, "train") + "Exiting because a job execution failed.\nWorkflowError:\nAt least one job\n")
    report.close(tmp_path / "mini.log", explained=False)
    lines = stream.getvalue().splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["failed", "training", "a"], ["1/5", "training", "b"]]
    assert lines[3:] == ["main.tex:12: no such key", f"1 of 5 stages in 9 s, 1 failed; log: {tmp_path}/mini.log"]


@pytest.mark.parametrize(("text", "last"), [
    ("Building DAG of jobs...\nNothing to be done (all requested files are present and up to date).",
     "nothing to do: everything is there and up to date"),
    (TABLE + started(7, "data") + "Terminating processes on user request, this might take some time.",
     "0 of 5 stages in 3 s, stopped; the same command goes on from here; log: x.log"),
    ("SyntaxError in file Snakefile, line 3", "the workflow has not begun; log: x.log"),
    (TABLE.replace("train           2\ngenerate        2\n", "") + started(7, "data") + ended(7, "data"),
     "1 stage in 3 s; log: x.log"),
])  # fmt: skip
def test_the_last_line_says_how_it_ended(run, text, last):
    workflow, report, stream, tell = run
    tell(3, text)
    report.close(progress.Path("x.log"), explained=False)
    assert stream.getvalue().splitlines()[-1] == last


def test_time_that_stages_share_is_counted_once(run):
    workflow, _, _, tell = run
    tell(0, TABLE + started(7, "data"))
    tell(10, ended(7, "data") + started(1, "train", adapter="a"))
    tell(20, started(2, "train", adapter="b"))
    tell(60, ended(1, "train"))
    tell(70, ended(2, "train"))
    assert workflow.means() == {"data": 10, "train": (10 + 20 + 20 + 10) / 2}
    assert sum(stage.share for stage, _ in workflow.finished) == 70


def test_what_is_left_is_said_only_where_each_rule_was_timed(run):
    workflow, _, _, tell = run
    tell(0, TABLE)
    assert workflow.left({"data": 10, "train": 30}) is None
    times = {"data": 10, "train": 30, "generate": 20}
    assert workflow.left(times) == 10 + 2 * 30 + 2 * 20
    tell(0, started(7, "data"))
    tell(50, ended(7, "data"))
    assert workflow.left(times) == 2 * 30 + 2 * 20
    tell(50, started(1, "train", adapter="a"))
    tell(60, "chatter")
    assert workflow.left(times) == 2 * 30 + 2 * 20 - 10
    tell(500, "chatter")  # longer than expected: it is about to end
    assert workflow.left(times) == 30 + 2 * 20
    tell(510, ended(1, "train"))
    assert workflow.left(times) == 460 + 2 * 20  # this run counts more than an earlier one
    assert progress.foot(workflow, times) == "2 of 5 stages, 8 min 30 s, about 8 min left"
    assert progress.foot(workflow, {}) == "2 of 5 stages, 8 min 30 s"  # of pictures nothing is known


def test_lines_are_drawn_in_place_on_a_terminal():
    stream = io.StringIO()
    screen = progress.Screen(stream, live=True)
    screen.draw(["a 1", "b 1", "foot"])
    screen.draw(["a 2" + "x" * 999, "foot"])
    assert [len(line) for line in seen(stream.getvalue())] == [shutil.get_terminal_size().columns - 1, 4]
    screen.keep("b done")
    screen.draw(["a 3", "foot"])
    screen.keep("end")
    assert seen(stream.getvalue()) == ["b done", "end"]


def test_a_bar_keeps_its_file_and_the_running_stage_shows_it(run, tmp_path, monkeypatch):
    workflow, report, stream, tell = run
    monkeypatch.setenv(bars.FOLDER, str(tmp_path))
    output = "results/smoke/adapters/a/04_train_adapter.ipynb"
    file = bars.status_file(output)
    tell(0, TABLE + started(1, "train", log=output, adapter="a"))
    assert next(progress.running_rows(workflow)).split() == "… training a 0 s".split()
    monkeypatch.setenv(bars.FILE, str(file))
    with bars.tqdm(total=200, unit="step", mininterval=0) as bar:
        bar.update(64)
        assert json.loads(file.read_text()) == {"n": 64, "total": 200, "unit": "step"}
        (row,) = progress.running_rows(workflow)
        assert row.split() == "… training a 64 of 200 steps 0 s".split()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    shutil.rmtree(tmp_path)
    assert list(bars.tqdm(range(3), mininterval=0)) == [0, 1, 2]  # where nothing can be written, all else goes on


def test_every_rule_of_the_workflow_has_a_name():
    rules = set(re.findall(r"^ *rule (\w+):", (ROOT / "Snakefile").read_text(), re.MULTILINE))
    assert rules == progress.NAMES.keys() | progress.TARGETS
    assert progress.name_of("new", {"adapter": "a", "cell": "n2"}) == "new a n2"


# --- the scripts, with Snakemake ---


@pytest.fixture
def workflow(tmp_path):
    """A repository whose workflow is two slow stages and one that reads both; a file `fail` makes the second fail."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "Snakefile").write_text(textwrap.dedent("""
        rule all:
            input: "results/c"
        rule slow:
            output: "results/{name}"
            wildcard_constraints: name="[ab]"
            shell: "echo chatter of {wildcards.name}; sleep 5; touch {output}"
        rule last:
            input: "results/a", "results/b"
            output: "results/c"
            shell: "if [ -f fail ]; then echo not today >&2; exit 3; fi; touch {output}"
    """))
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "CORES": "2", "TERM": "xterm"}
    return tmp_path, {"cwd": tmp_path, "env": environment}


def rows(text):
    return [" ".join(re.sub(r"\d+ s\b", "N s", line).split()) for line in text.splitlines()]


LAST = "3 stages in N s; log: .run/report.log"


def test_without_a_terminal_a_stage_is_one_line(workflow):
    folder, how = workflow
    (folder / "fail").touch()
    first = subprocess.run(["scripts/snakemake.sh"], capture_output=True, text=True, **how)
    assert first.returncode == 1 and first.stdout == ""
    lines = rows(first.stderr)
    assert lines[0] == "report: 3 stages to run: 2 × slow, last"
    assert {line.partition(" ")[2] for line in lines[1:3]} == {"slow a N s", "slow b N s"}
    assert lines[3:] == ["failed last N s", "not today", "2 of 3 stages in N s, 1 failed; log: .run/report.log"]
    log = (folder / ".run/report.log").read_text()
    assert "chatter of a" in log and "Building DAG" in log and "Error in rule last" in log
    (folder / "fail").unlink()
    again = subprocess.run(["scripts/snakemake.sh"], capture_output=True, text=True, **how)
    assert again.returncode == 0, again.stderr
    assert rows(again.stderr) == ["report: 1 stage to run: last", "1/1 last N s", LAST.replace("3 stages", "1 stage")]
    nothing = subprocess.run(["scripts/snakemake.sh"], capture_output=True, text=True, **how)
    assert (nothing.returncode, nothing.stderr) == (0, "nothing to do: everything is there and up to date\n")


def on_terminal(command, until=None, **how):
    """Exit status of a command on a terminal and what it printed there; Ctrl-C is typed when `until` has appeared, and
    again every 3 s while the command goes on: on a busy machine Snakemake can miss the first."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(how["cwd"])
        os.execvpe(command[0], command, how["env"])
    text, end, typed = "", time.monotonic() + 120, -9.0
    while time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            try:
                text += os.read(terminal, 2**16).decode()
            except OSError:  # Linux's way to say that nobody writes any more
                break
        if until and until in text and time.monotonic() - typed > 3:
            with suppress(OSError):
                os.write(terminal, b"\x03")
            typed = time.monotonic()
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return status, text.replace("\r\n", "\n")


def test_on_a_terminal_the_running_stages_are_drawn_in_place(workflow):
    folder, how = workflow
    status, text = on_terminal(["scripts/snakemake.sh"], **how)
    assert status == 0, text
    frames = [rows(frame) for frame in re.split(r"\x1b\[\d+A\x1b\[J", text)]
    assert any(frame[-3:-1] in (["… slow a N s", "… slow b N s"], ["… slow b N s", "… slow a N s"])
               and frame[-1].startswith("0 of 3 stages, N s") for frame in frames)  # fmt: skip
    left = rows("\n".join(seen(text)))
    assert left[0] == "report: 3 stages to run: 2 × slow, last" and len(left) == 5 and left[-1] == LAST


def test_ctrl_c_stops_and_says_so(workflow):
    folder, how = workflow
    status, text = on_terminal(["scripts/snakemake.sh"], until="slow a", **how)
    assert status, text
    assert not (folder / "results/c").exists()
    left = rows("\n".join(seen(text)))
    assert [line for line in left if line.endswith("stopped; the same command goes on from here; log: .run/report.log")]
    again = subprocess.run(["scripts/snakemake.sh"], capture_output=True, text=True, **how)
    assert again.returncode == 0 and (folder / "results/c").exists()


def test_a_closed_terminal_stops_nothing(workflow):
    """Of what shows a run nobody depends: without a reader, and under signals to all, it goes on."""
    folder, how = workflow
    with subprocess.Popen(["scripts/snakemake.sh"], stderr=subprocess.PIPE, process_group=0, **how) as process:
        process.stderr.readline()
        process.stderr.close()
        os.killpg(process.pid, signal.SIGHUP)  # the script ends by it
        process.wait(60)
    again = subprocess.run(["scripts/snakemake.sh"], capture_output=True, text=True, **how)
    assert again.returncode == 0 and (folder / "results/c").exists()
