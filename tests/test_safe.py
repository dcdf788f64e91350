"""Safe to open: what comes from outside runs no code, no command is made of parameters, and the lab is closed."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from spoil import Malicious

from ipa_lib.evaluation import inception
from ipa_lib.files import ROOT
from ipa_lib.model import exchange
from ipa_lib.workflow import config

SOURCES = [*sorted((ROOT / "ipa_lib").rglob("*.py")), *sorted((ROOT / "notebooks").glob("*.ipynb")), ROOT / "Snakefile"]
UNPICKLE = {"pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "joblib.load", "dill.load", "shelve.open",
            "pd.read_pickle", "pandas.read_pickle", "np.load", "numpy.load", "marshal.loads", "torch.hub.load"}
COMMANDS = {"os.system", "os.popen", "eval", "exec", "subprocess.getoutput", "subprocess.getstatusoutput",
            "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
OWN = {"mini_base.py", "02_train_base.ipynb"}  # they load what they have just written


def code(path: Path) -> str:
    """The Python of a module or of a notebook's cells."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def calls(path: Path):
    """(what is called, its keywords as text) throughout a source."""
    for node in ast.walk(ast.parse(code(path))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


@pytest.mark.parametrize("path", SOURCES[:-1], ids=lambda path: path.name)
def test_nothing_is_unpickled_and_no_shell_is_called(path):
    for name, words in calls(path):
        assert name not in COMMANDS, f"{path.name}: {name}"
        assert name not in UNPICKLE or words.get("weights_only") == "True", f"{path.name}: {name} without weights_only"
        assert words.get("shell") in (None, "False"), f"{path.name}: {name} with a shell"
        assert words.get("trust_remote_code") in (None, "False"), f"{path.name}: {name} trusts code from the hub"
        weights = re.search(r"(Model|Pipeline|Projection|Classification|KL)\.from_pretrained$", name)
        assert not weights or path.name in OWN or words.get("use_safetensors") == "True", f"{path.name}: {name}"


def test_the_malice_is_real(tmp_path):
    """What all the tests refuse would write a file: an unpickler that is not held back does."""
    torch.save(Malicious(tmp_path), tmp_path / "a.bin")
    torch.load(tmp_path / "a.bin", weights_only=False)
    assert (tmp_path / "owned").exists()


@pytest.mark.parametrize("read", [exchange.read_published, inception._read_tensors])
def test_a_checkpoint_runs_no_code(tmp_path, read):
    torch.save({"image_proj": Malicious(tmp_path)}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="tensors alone|nothing but tensors"):
        read(tmp_path / "a.bin")
    assert not (tmp_path / "owned").exists()


ODD = ["a b", "$(touch owned)", "`touch owned`", "'; touch owned; '", "a\nb", "${HOME}", "* {x} \\ \""]


@pytest.mark.parametrize("value", ODD)
def test_a_parameter_reaches_a_notebook_as_it_is(tmp_path, value):
    """Through the shell that Snakemake hands the flags to."""
    profile = config.Profile("mine", {"06_evaluate": {"judged_by": value}}, {}, (), {})
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{show}" {profile.flags("06_evaluate")}'],
                          cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["-p", "judged_by", value] and not os.listdir(tmp_path)


def test_shell_lines_of_the_workflow_hold_nothing_of_a_user_s_but_quoted_flags():
    """The rest are names that `config` has checked: of adapters, of cells, of the profile."""
    text = (ROOT / "Snakefile").read_text()
    lines = {line.strip() for line in text.splitlines() if re.match(r"\s+shell:", line)}
    assert lines == {"shell: RUN", "shell: TRAIN", 'shell: "cp {input} {PAPER}"',
                     'shell: "scripts/typeset.sh {PAPER}/main.tex"'}
    runs = re.findall(r"^(?:RUN|TRAIN) = (.*)$", text, re.MULTILINE)
    assert all(set(re.findall(r"{{(.*?)}}", line)) == {"params.nb", "log.nb", "params.flags"} for line in runs)


def test_the_lab_keeps_its_token_and_its_door(tmp_path):
    """What `make lab` would run: bound to this machine, with the token and the origin check that are the default."""
    done = subprocess.run(["make", "-n", "lab", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("jupyter lab")]
    assert "--ip=127.0.0.1" in line
    assert not re.search(r"token|password|allow_origin|disable_check_xsrf|allow_remote|0\.0\.0\.0", line)
