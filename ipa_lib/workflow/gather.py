"""One table of many: what stages have left in folders of their own, put together. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..files import atomic
from .provenance import read_log


def gather(parts: Sequence[str | Path], path: str | Path) -> Path:
    """One CSV of several with the same columns, in their order: the tidy table, and the scores."""
    whole = pd.concat([pd.read_csv(part) for part in parts], ignore_index=True)
    with atomic(path) as temporary:
        whole.to_csv(temporary, index=False)
    return Path(path)


def gather_logs(files: Sequence[str | Path], path: str | Path) -> Path:
    """The losses of several trainings, from their log.jsonl: CSV with columns adapter, step, loss, val_loss.

    A loss is that of one step, of six significant digits; `val_loss` is empty but for the steps that validated.
    """
    logs = {Path(file).parent.name: pd.DataFrame(read_log(Path(file))) for file in files}
    whole = pd.concat(log.assign(adapter=name) for name, log in logs.items())
    whole = whole.reindex(columns=["adapter", "step", "loss", "val_loss"])
    with atomic(path) as temporary:
        whole.to_csv(temporary, index=False, float_format="%.6g")
    return Path(path)
