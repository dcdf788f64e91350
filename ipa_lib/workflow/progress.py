"""Show a workflow as one line a stage, with its time and what is left; Snakemake's own words go into a log.

    snakemake … 2>&1 | python -m ipa_lib.workflow.progress .run/mini.log      # scripts/snakemake.sh

Reads what Snakemake and its jobs print. On a terminal the lines of running stages are refreshed in place, with how far
their bars are (`bars`); elsewhere a stage is a line when it has finished. Nothing here can stop the workflow.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sys
import textwrap
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from .. import bars

NAMES = {  # rule -> what it is called, in the order of the workflow
    "data": "data",
    "base": "base model",
    "features": "features",
    "train": "training {adapter}",
    "generate": "pictures {cell} of {adapter}",
    "evaluate": "scores {cell} of {adapter}",
    "ceilings": "ceilings",
    "slots": "slots",
    "counts": "sample count",
    "table": "table",
    "facts": "facts",
    "over_n_refs": "figures over N",
    "over_lambda": "figures over λ",
    "compare_adapters": "figures of adapters",
    "show_samples": "figures of samples",
    "numbers": "numbers",
    "sources": "LaTeX sources",
    "paper": "paper",
    "start": "published adapter",
}
TARGETS = {"all", "paper_inputs"}  # they name files and make none
WIDTH = 54  # of a stage's name and how far it is
AT_ONCE = 8  # running stages that are shown
EVERY = 1.0  # seconds between two refreshes

STARTS = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
FIELD = re.compile(r"    (log|jobid|wildcards): (.*)")
FINISHED = re.compile(r"Finished jobid: (\d+)\b")
FAILED = re.compile(r"Error in rule \w+:")
NO_OUTPUT = re.compile(r"Job (\d+) completed successfully, but ")
COUNT = re.compile(r"(\w+) +(\d+)")
STOPPED = re.compile(r"(Terminating processes|Cancelling snakemake) on user request")
CHATTER = re.compile(  # what Snakemake says besides, and is no error's reason
    r"\[\w{3} \w{3} .*\]$|Select jobs|Execute \d+ jobs|\d+ of \d+ steps|Using shell|Provided |Rules claiming|Assuming "
    r"|RuleException:|CalledProcessError |Command '|Exiting because|Complete log|Elapsed time|WorkflowError:"
    r"|At least one|Job stats|job  +count|---|Trying to restart|Waiting at most|Shutting down|Finished jobid|host: "
)


def duration(seconds: float) -> str:
    """Such as "41 s", "3 min 05 s" or "1 h 54 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def name_of(rule: str, wildcards: Mapping[str, str]) -> str:
    """What a stage is called; of a rule that is not in `NAMES`, its own name and its wildcards."""
    if rule in NAMES:
        with suppress(KeyError):
            return NAMES[rule].format(**wildcards)
    return " ".join([rule, *wildcards.values()])


# --- what Snakemake says ---


@dataclass
class Stage:
    """A job that runs or has run. `share`: its seconds, each divided by the number of stages that ran in it."""

    rule: str
    began: float
    wildcards: dict[str, str] = field(default_factory=dict)
    log: str = ""
    share: float = 0.0

    @property
    def name(self) -> str:
        return name_of(self.rule, self.wildcards)


class Workflow:
    """The state of a run after the lines that Snakemake has printed so far.

    `clock` gives seconds. `finished` and `failed` hold stages with the seconds that each took.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.began = clock, clock()
        self.passed = self.began
        self.counts: dict[str, int] | None = None  # stages to run, a rule
        self.running: dict[int, Stage] = {}
        self.finished: list[tuple[Stage, float]] = []
        self.failed: list[tuple[Stage, float]] = []
        self.nothing = self.stopped = self.dry = False
        self.reasons: list[str] = []  # of failures: what was printed just before them
        self._last: deque[str] = deque(maxlen=8)  # lines since a stage began or ended, without Snakemake's chatter
        self._block: Stage | str | None = None  # the lines that follow belong to it
        self._table: dict[str, int] = {}

    @property
    def total(self) -> int:
        return sum((self.counts or {}).values())

    @property
    def tail(self) -> list[str]:
        """The last lines that are no chatter of Snakemake's."""
        return list(self._last)

    def tick(self) -> None:
        """Share the time that has passed since the last call among the running stages."""
        now = self.clock()
        for stage in self.running.values():
            stage.share += (now - self.passed) / len(self.running)
        self.passed = now

    def read(self, line: str) -> None:
        """Take one line of Snakemake's, or of a job's."""
        self.tick()
        if self._block == "counts":
            self._count(line)
        elif self._block and line.startswith("    "):
            self._detail(line)
        else:
            self._block = None
            self._event(line)

    def _count(self, line: str) -> None:
        """A line of the table of jobs, which an empty one ends."""
        if match := COUNT.fullmatch(line.strip()):
            self._table[match[1]] = int(match[2])
        elif not line.strip():
            self.counts = {rule: n for rule, n in self._table.items() if rule not in TARGETS | {"total"}}
            self._block = None

    def _detail(self, line: str) -> None:
        """A line below the head of a job, or below the one that it has failed."""
        if not (match := FIELD.fullmatch(line)):
            return
        key, value = match.groups()
        if key == "jobid":
            if isinstance(self._block, Stage):
                self.running[int(value)] = self._block
            else:
                self._end(int(value), self.failed)
        elif isinstance(self._block, Stage) and key == "log":
            self._block.log = value.split(", ")[0]
        elif isinstance(self._block, Stage):
            self._block.wildcards = dict(pair.partition("=")[::2] for pair in value.split(", "))

    def _event(self, line: str) -> None:
        if match := STARTS.fullmatch(line):
            self._block = Stage(match[1], self.clock())
            self._last.clear()
        elif match := FINISHED.match(line):
            self._end(int(match[1]), self.finished)
        elif match := NO_OUTPUT.match(line):
            self._end(int(match[1]), self.failed)
        elif FAILED.fullmatch(line):
            self._block = "failed"
        elif line == "Job stats:" and self.counts is None:
            self._block = "counts"
        else:
            self._say(line)

    def _say(self, line: str) -> None:
        self.nothing |= line.startswith("Nothing to be done")
        self.stopped |= bool(STOPPED.match(line))
        self.dry |= line.startswith("This was a dry-run")
        if line.startswith("Building DAG"):
            self._last.clear()
        elif line.strip() and not CHATTER.match(line):
            self._last.append(line)

    def _end(self, job: int, ended: list[tuple[Stage, float]]) -> None:
        if ended is self.failed:
            self.reasons += self._last
        self._last.clear()
        stage = self.running.pop(job, None)  # Snakemake may say it twice
        if stage and stage.rule not in TARGETS:
            ended.append((stage, self.clock() - stage.began))

    def means(self) -> dict[str, float]:
        """Rule -> seconds that a stage of it has added to the run."""
        shares: dict[str, list[float]] = {}
        for stage, _ in self.finished:
            shares.setdefault(stage.rule, []).append(stage.share)
        return {rule: sum(values) / len(values) for rule, values in shares.items()}

    def left(self, earlier: Mapping[str, float]) -> float | None:
        """Seconds that are left, by stages of the same rules in this run or an `earlier` one; None where one lacks."""
        means = {**earlier, **self.means()}
        waiting = Counter(self.counts)
        waiting.subtract(stage.rule for stage, _ in self.finished + self.failed)
        waiting = {rule: n for rule, n in waiting.items() if n > 0}
        if not self.counts or not waiting.keys() <= means.keys():
            return None
        spent = sum(min(stage.share, means.get(stage.rule, 0)) for stage in self.running.values())
        return sum(n * means[rule] for rule, n in waiting.items()) - spent


# --- what is shown ---


def plan(title: str, counts: Mapping[str, int]) -> str:
    """What is to be done, such as "mini: 43 stages to run: data, features, 2 × training, …"."""
    order = [*NAMES, *counts]
    rules = sorted(counts, key=order.index)
    parts = [f"{counts[rule]} × " * (counts[rule] > 1) + NAMES.get(rule, rule).split(" {")[0] for rule in rules]
    text = f"{title}: {stages(sum(counts.values()))} to run: {', '.join(parts)}"
    return textwrap.fill(text, 100, subsequent_indent=" " * 4, break_on_hyphens=False)


def stages(n: int) -> str:
    return f"{n} stage{'s' * (n != 1)}"


def row(head: str, text: str, seconds: float) -> str:
    """One stage: `head` is its number, or what became of it."""
    return f"{head:>8}  {text:<{WIDTH}}  {duration(seconds):>11}"


def running_rows(workflow: Workflow) -> Iterator[str]:
    """The stages that run, each with how far its bar is."""
    running = [stage for stage in workflow.running.values() if stage.rule not in TARGETS]
    for stage in running[:AT_ONCE]:
        far = bars.read(bars.status_file(stage.log))
        room = WIDTH - len(far) - 1
        yield row("…", f"{stage.name[:room]:<{room}} {far}", workflow.clock() - stage.began)
    if len(running) > AT_ONCE:
        yield f"{'…':>8}  and {len(running) - AT_ONCE} more"


def foot(workflow: Workflow, earlier: Mapping[str, float]) -> str:
    """How much is done, and how long the rest takes where that can be said."""
    if workflow.counts is None:
        return f"looking for what is to be done, {duration(workflow.clock() - workflow.began)}"
    text = f"{len(workflow.finished)} of {stages(workflow.total)}, {duration(workflow.clock() - workflow.began)}"
    left = workflow.left(earlier) or 0  # under a minute and a half it is no better than a guess
    sure = left >= 90 and not workflow.stopped and not workflow.failed
    return f"{text}, about {round(left / 60)} min left" if sure else text


def summary(workflow: Workflow, log: Path) -> str:
    """The last line: what was done in what time, and where the log is."""
    if workflow.nothing:
        return "nothing to do: everything is there and up to date"
    n, total, took = len(workflow.finished), workflow.total, duration(workflow.clock() - workflow.began)
    if workflow.counts is None:
        return f"the workflow has not begun; log: {log}"
    done = stages(total) if n == total else f"{n} of {stages(total)}"
    failed = f", {len(workflow.failed)} failed" if workflow.failed else ""
    stopped = ", stopped; the same command goes on from here" if workflow.stopped else ""
    return f"{done} in {took}{failed}{stopped}; log: {log}"


class Screen:
    """Lines that stay, and below them, on a terminal, lines that are drawn again and again.

    Where nothing can be written any more, such as on a terminal that was closed, nothing is.
    """

    def __init__(self, stream: TextIO, live: bool):
        self.stream, self.live, self._drawn = stream, live, 0

    def keep(self, text: str) -> None:
        self._write(self._clear() + text + "\n")

    def draw(self, lines: list[str]) -> None:
        """Put `lines` in place of those that were drawn last, cut to the width of the terminal."""
        if self.live:
            size = shutil.get_terminal_size()
            lines = [line[: size.columns - 1] for line in lines][-max(size.lines - 1, 1) :]
            self._write(self._clear() + "".join(f"{line}\n" for line in lines))
            self._drawn = len(lines)

    def _clear(self) -> str:
        up, self._drawn = self._drawn, 0
        return f"\x1b[{up}A\x1b[J" if up else ""

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()


class Report:
    """Holds a workflow and a screen together: what has ended since the last call becomes a line that stays."""

    def __init__(self, workflow: Workflow, screen: Screen, title: str, earlier: Mapping[str, float]):
        self.workflow, self.screen, self.title, self.earlier = workflow, screen, title, earlier
        self._planned, self._finished, self._failed = False, 0, 0

    def read(self, line: str) -> None:
        self.workflow.read(line)
        self._keep()

    def draw(self) -> None:
        self.workflow.tick()
        self.screen.draw([*running_rows(self.workflow), foot(self.workflow, self.earlier)])

    def _keep(self) -> None:
        workflow = self.workflow
        if workflow.total and not self._planned:
            self.screen.keep(plan(self.title, workflow.counts))
            self._planned = True
        for i, (stage, seconds) in enumerate(workflow.finished[self._finished :], self._finished + 1):
            self.screen.keep(row(f"{i}/{workflow.total}", stage.name, seconds))
        for stage, seconds in workflow.failed[self._failed :]:
            self.screen.keep(row("failed", stage.name, seconds))
        self._finished, self._failed = len(workflow.finished), len(workflow.failed)

    def close(self, log: Path, explained: bool) -> None:
        """Say how it ended. The reason of a failure is printed here where no stage has `explained` it in a line."""
        workflow = self.workflow
        if workflow.dry:
            return
        whole = workflow.nothing or workflow.counts is not None and len(workflow.finished) == workflow.total
        if not (whole or explained or workflow.stopped):
            self.screen.keep("\n".join(workflow.reasons or workflow.tail))
        self.screen.keep(summary(workflow, log))


# --- streams and files ---


def lines(descriptor: int, log: TextIO, wait: Callable[[], None]) -> Iterator[str]:
    """Lines of a pipe until its end; each byte goes to `log` as it comes. `wait` is called every `EVERY` seconds."""
    rest = ""
    next_call = 0.0
    while True:
        if select.select([descriptor], [], [], EVERY)[0]:
            if not (chunk := os.read(descriptor, 2**16)):
                break
            text = chunk.decode(errors="replace")
            _append(log, text)
            *whole, rest = re.split(r"[\r\n]", rest + text)
            yield from whole
        if time.monotonic() >= next_call:
            wait()
            next_call = time.monotonic() + EVERY
    yield rest


def _append(log: TextIO, text: str) -> None:
    with suppress(OSError, ValueError):
        log.write(text)
        log.flush()


def read_times(path: Path) -> dict[str, dict[str, float]]:
    """Title -> rule -> seconds of the last run; empty where there was none."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def write_times(path: Path, title: str, means: Mapping[str, float]) -> None:
    times = read_times(path)
    bars.write(path, {**times, title: {**times.get(title, {}), **means}})


def follow(descriptor: int, log: Path, screen: Screen) -> None:
    """Show the run whose output comes from a pipe, and keep that in `log`."""
    times = log.with_name("times.json")
    report = Report(Workflow(), screen, log.stem, read_times(times).get(log.stem, {}))
    with open(log, "w", encoding="utf-8") as file:
        for line in lines(descriptor, file, report.draw):
            report.read(line)
    failures = Path(os.environ.get("IPA_FAILURES", os.devnull))
    report.close(log, failures.is_file() and failures.stat().st_size > 0)
    write_times(times, log.stem, report.workflow.means())


def main(log: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Snakemake ends by them, and then so does its output
    sys.stderr.reconfigure(errors="replace")
    try:
        follow(0, Path(log), Screen(sys.stderr, sys.stderr.isatty() and os.environ.get("TERM") != "dumb"))
    finally:
        while os.read(0, 2**16):  # whatever happens, Snakemake can go on writing
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
