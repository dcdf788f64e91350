"""Many small trainings, generations and caches in one process: does it grow, or leave anything behind?

    python tests/soak.py 200 1800       # so many rounds, or so many seconds

Prints the memory [MB] and the open files every tenth of the way, and last what has changed since the first tenth, in
which libraries fill their own caches. Ends with status 1 where memory has grown by 5 % or anything is left.
"""

import gc
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
from kill_resume import Stage, half_written

ALLOWED = 0.05  # of the resident memory


def measured() -> dict[str, int]:
    """Resident bytes, open files and connections, and processes and threads of this process."""
    gc.collect()
    this = psutil.Process()
    return {"memory": this.memory_info().rss, "handles": this.num_fds(), "threads": this.num_threads(),
            "processes": len(this.children(recursive=True))}


def round_of(stages: Stage, folder: Path) -> None:
    """One training, one generation and one cache, as `kill_resume` has them, in a folder that goes."""
    for name in ("training", "generation", "cache"):
        (folder / name).mkdir()
        getattr(stages, name)(folder / name)
        assert not half_written(folder / name)
        shutil.rmtree(folder / name)


def main(rounds: int = 200, seconds: float = 1800) -> int:
    began, first = time.monotonic(), None
    with tempfile.TemporaryDirectory() as root:
        stages, folder = Stage(Path(root)), Path(root) / "rounds"
        folder.mkdir()
        for i in range(rounds):
            round_of(stages, folder)
            share = max((i + 1) / rounds, (time.monotonic() - began) / seconds)
            if first is None and share >= 0.1:
                first = measured()
            if i % max(1, rounds // 10) == 0:
                now = measured()
                print(f"{i + 1} rounds:", now | {"memory": round(now["memory"] / 1e6)}, flush=True)
            if share >= 1:
                break
        last, left = measured(), list(folder.iterdir())
    growth = last["memory"] / first["memory"] - 1
    more = {name: last[name] - first[name] for name in first if name != "memory"}
    print(f"{i + 1} rounds in {time.monotonic() - began:.0f} s: memory {growth:+.1%}, {more}, {len(left)} files left")
    return int(growth >= ALLOWED or any(x > 0 for x in more.values()) or bool(left))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
