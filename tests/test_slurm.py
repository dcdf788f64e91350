"""Two stages of the smoke profile as jobs of a SLURM cluster, here of one machine.

Skipped where no SLURM answers. One is set up in a minute: Debian's slurm-wlm and munge, and a slurm.conf of one node
with a partition `main`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ipa_lib import files
from ipa_lib.workflow import paths

SLURM = shutil.which("sinfo") and subprocess.run(["sinfo", "-h"], capture_output=True, timeout=30).stdout
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SLURM, reason="no SLURM answers here"),
    pytest.mark.skipif(not importlib.util.find_spec("snakemake_executor_plugin_slurm"),
                       reason="snakemake-executor-plugin-slurm is not installed"),
]  # fmt: skip


def test_stages_become_jobs(tmp_path):
    """With configs/slurm as it stands, but for what this cluster has: no GPU, no accounts, less memory."""
    settings = yaml.safe_load((files.ROOT / "configs/slurm/config.yaml").read_text())
    settings["default-resources"] |= {"mem_mb": 2000, "runtime": 20}
    settings["set-resources"] = {name: {"gpu": 0, "mem_mb": 3000} for name in settings["set-resources"]}
    settings |= {"slurm-no-account": True, "slurm-status-command": "squeue", "latency-wait": 30,
                 "slurm-init-seconds-before-status-checks": 5, "seconds-between-status-checks": 5}  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    made = paths.results_dir("smoke") / "features" / "manifest.json"
    shutil.rmtree(paths.results_dir("smoke"), ignore_errors=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                                "SNAKEMAKE_PROFILE": str(tmp_path)}  # fmt: skip
    command = ["scripts/snakemake.sh", "--config", "profile=smoke", "--", str(made.relative_to(files.ROOT))]
    done = subprocess.run(command, cwd=files.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (files.ROOT / ".run/smoke.log").read_text()
    assert made.is_file() and log.count("has been submitted with SLURM jobid") == 2
    assert " 2/2  features " in done.stderr
