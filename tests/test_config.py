"""config: profiles are read into what they mean, and every mistake is one line that names it."""

import shlex

import nbformat
import papermill
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipa_lib import choices
from ipa_lib.drawn.mini_base import ENCODER_SEED, JUDGE_SEED
from ipa_lib.model.merge import MERGES
from ipa_lib.model.projection import PROJECTIONS
from ipa_lib.workflow import config, grid
from ipa_lib.workflow.parameters import check_values, parameters

PARAMETERS = """\
people: int = 100  # people of the test split
lam: float = 1.0  # image weight
merge: str = "mean"  # G and U
random_n: bool = True  # n uniform in 1…n_max
n_refs: list[int] = [1, 2, 4]  # numbers of prompts
lams: list[float] = [0.0, 1.0]  # image weights
"""


def write_notebook(path, source=PARAMETERS, tags=("parameters",)):
    cells = [nbformat.v4.new_markdown_cell("# Generate"), nbformat.v4.new_code_cell(source)]
    cells[1].metadata["tags"] = list(tags)
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Notebooks for reading only."""
    folder = tmp_path_factory.mktemp("a_repository") / "notebooks"
    folder.mkdir()
    write_notebook(folder / "05_generate.ipynb")
    return folder


@pytest.fixture
def load(tmp_path, folder):
    def load(text):
        (tmp_path / "mine.yaml").write_text(text)
        return config.load_profile(tmp_path / "mine.yaml", folder)

    return load


def one_line(error) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


# --- profiles that are right ---


@pytest.mark.parametrize("name", config.profile_names())
def test_every_profile_of_the_repository_loads(name):
    profile = config.load_profile(name)
    assert profile.name == name and profile.adapters and profile.lams


def test_the_example_of_the_module_loads(tmp_path):
    example = "\n".join(line for line in config.__doc__.splitlines() if line.startswith("    "))
    (tmp_path / "mine.yaml").write_text(example)
    assert "mean-own-n4r-s0/n4-reversed-w5" in config.load_profile(tmp_path / "mine.yaml").cells


def test_mini_is_the_defaults_of_the_notebooks():
    assert config.load_profile("mini").notebooks == {}


def test_nobody_is_drawn_in_two_worlds():
    """Base, published adapter, judges and the people of a profile: a drawn person is a function of (seed, number)."""
    drawn = {name: config.load_profile(name).settings("01_prepare_data") for name in config.profile_names()}
    seeds = {name: values["seed"] for name, values in drawn.items() if values["draw"]}
    for name, same in {"full": "mini", "pretrain-mlp": "pretrain"}.items():  # the same people, on purpose
        assert seeds.pop(name) == seeds[same]
    assert len({*seeds.values(), JUDGE_SEED, ENCODER_SEED}) == len(seeds) + 2


def test_the_names_of_the_merges_are_those_of_merge():
    assert set(choices.MERGES) == set(MERGES)
    assert choices.PROJECTIONS == tuple(PROJECTIONS)


def test_another_order_projection_or_target_is_another_folder():
    others = (), ("norm",), ("given", "mlp"), ("given", "resampler"), ("given", "linear", "shown")
    names = [grid.AdapterRun("mean", "own", 4, True, 0, (4,), *more).name for more in others]
    assert names == [f"mean-own-{part}n4r-s0" for part in ("", "norm-", "mlp-", "resampler-", "shown-")]


def test_grid_is_the_product_of_its_lists(load):
    profile = load("grid: [{merge: [mean, concat], slots: [own, shared], n_max: [1, 4], seed: [0, 1]}]")
    assert len(profile.adapters) == 16
    assert list(profile.adapters)[:3] == ["mean-own-n1-s0", "mean-own-n1-s1", "mean-own-n4-s0"]
    assert profile.adapters["concat-shared-n4-s1"] == grid.AdapterRun(
        "concat", "shared", 4, False, 1, (4,), lams=profile.lams)


def test_random_n_is_in_the_name(load):
    profile = load("grid: [{merge: mean, n_max: 4, random_n: true, n_refs: [1, 2, 4]}]\nlams: [0, 1]")
    run = grid.AdapterRun("mean", "own", 4, True, 0, (1, 2, 4), lams=(0.0, 1.0))
    assert profile.adapters == {"mean-own-n4r-s0": run}


def test_order_and_target_are_axes_of_the_grid(load):
    profile = load("grid: [{merge: mean, n_max: 4, order: [given, norm], target: [left_out, shown]}]")
    assert list(profile.adapters) == [f"mean-own-{part}n4-s0" for part in ("", "shown-", "norm-", "norm-shown-")]


def test_usual_cells_are_those_of_the_grid_and_a_floor(load):
    entries = "{merge: mean, n_max: 2, random_n: true, n_refs: [1, 2]}, {merge: concat, n_max: 4, lams: [1]}"
    profile = load(f"grid: [{entries}]\nlams: [0, 1]")
    main = "mean-own-n2r-s0"
    assert profile.cells == {
        f"{main}/n1": grid.Cell(main, 1, (0.0, 1.0)),
        f"{main}/n2": grid.Cell(main, 2, (0.0, 1.0)),
        "concat-own-n4-s0/n4": grid.Cell("concat-own-n4-s0", 4, (1.0,)),
        f"{main}/n2-other": grid.Cell(main, 2, (1.0,), "other"),
    }


def test_more_cells_are_the_product_of_their_lists(load):
    lists = "n_refs: [2, 4], prompts: [own, reversed], guidance: [1, 2.5], lams: [1]"
    profile = load(f"grid: [{{merge: mean, n_max: 4}}]\ncells: [{{adapters: mean-own-n4-s0, {lists}}}]")
    assert [cell.name for cell in profile.cells.values()][2:] == [
        f"n{n}{prompts}-w{w}" for n in (2, 4) for prompts in ("", "-reversed") for w in ("1", "2.5")]
    assert profile.cells["mean-own-n4-s0/n4-reversed-w2.5"].values() == {
        "adapter": "mean-own-n4-s0", "cell": "n4-reversed-w2.5", "n_refs": 4, "prompts": "reversed", "lams": [1.0],
        "guidance": 2.5}
    assert "guidance" not in profile.cells["mean-own-n4-s0/n4"].values()


def test_a_grid_of_its_own_has_no_cells_of_the_default(load):
    usual = {"n4", "n4-other"}
    assert {cell.name for cell in load("grid: [{merge: mean, n_max: 4}]").cells.values()} == usual


def test_a_profile_holds_only_differences(load):
    mini = config.load_profile("mini")
    profile = load("notebooks: {05_generate: {people: 8}}")
    assert (profile.adapters, profile.lams) == (mini.adapters, mini.lams)
    assert load("").notebooks == {}
    assert load("lams: [0, 1, 0.5]").lams == (0.0, 0.5, 1.0)


def test_values_and_flags_take_the_profile_then_the_rest(load):
    profile = load("notebooks: {05_generate: {people: 8, lam: 1e-1}}")
    assert profile.values("05_generate", people=9) == {"people": 9, "lam": 0.1}
    assert profile.flags("05_generate", merge="concat") == "-p people 8 -p lam 0.1 -p merge concat"


VALUES = st.fixed_dictionaries({}, optional={
    "people": st.integers(),
    "lam": st.floats(allow_nan=False, allow_infinity=False),
    "merge": st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    "random_n": st.booleans(),
    "n_refs": st.lists(st.integers()),
    "lams": st.lists(st.floats(allow_nan=False, allow_infinity=False)),
})  # fmt: skip


@given(values=VALUES)
def test_flags_come_back_from_the_command_line_unchanged(folder, values):
    words = shlex.split(config.Profile("x", {}, {}, (), {}, folder).flags("05_generate", **values))
    pairs = dict(zip(words[1::3], words[2::3], strict=True))
    assert check_values(folder / "05_generate.ipynb", pairs) == values


def test_parameters_are_those_that_papermill_sees(folder):
    ours = parameters(folder / "05_generate.ipynb")
    theirs = papermill.inspect_notebook(folder / "05_generate.ipynb")
    assert {n: (p.kind, p.help) for n, p in ours.items()} == {
        n: (p["inferred_type_name"], p["help"]) for n, p in theirs.items()
    }
    assert ours["lams"].default == [0.0, 1.0] and ours["merge"].default == "mean"


# --- mistakes ---

ENTRY = "{merge: mean, n_max: 4}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid: [{merge: mode, n_max: 4}]", "mine.yaml: grid[0]: merge: expected one of mean, concat"),
        ("grid: [{merge: mean, n_max: 4, slots: none}]", "slots: expected one of own, shared, marked, got 'none'"),
        ("grid: [{merge: pool, n_max: 4}]", "grid[0]: slots: expected shared or marked for merge: pool, got own"),
        ("grid: [{merge: mean, views: roles, n_max: 5}]", "n_max: expected at most 4 for views: roles, got 5"),
        ("grid: [{merge: mean, n_max: 0}]", "grid[0]: n_max: expected a whole number from 1 to 32, got 0"),
        ("grid: [{merge: mean, n_max: 33}]", "n_max: expected a whole number from 1 to 32, got 33"),
        ("grid: [{merge: mean, n_max: 2.0}]", "n_max: expected a whole number from 1 to 32, got 2.0"),
        ("grid: [{merge: mean, n_max: true}]", "n_max: expected a whole number from 1 to 32, got True"),
        ("grid: [{merge: mean, n_max: 4, seed: -1}]", "seed: expected a whole number from 0 to"),
        ("grid: [{merge: mean, n_max: 4, n_refs: [8]}]", "n_refs: expected a whole number from 1 to 4"),
        ("grid: [{merge: mean, n_max: 4, n_refs: [1, 1]}]", "n_refs: 1 stands there twice"),
        ("grid: [{merge: mean, n_max: 4, n_refs: two}]", "n_refs: expected a whole number, got 'two'"),
        ("grid: [{merge: mean, n_max: 4, n_refs: []}]", "n_refs: expected at least one"),
        ("grid: [{merge: [], n_max: 4}]", "merge: expected at least one"),
        ("grid: [{merge: mean, n_max: 4, random_n: 7}]", "random_n: expected true or false, got 7"),
        ("grid: [{merge: mean}]", "mine.yaml: grid[0]: n_max is missing"),
        ("grid: [{merge: mean, nmax: 4}]", "unknown key 'nmax'; did you mean n_max?"),
        (f"grid: [{ENTRY}, {ENTRY}]", "mine.yaml: grid: mean-own-n4-s0 stands there twice"),
        ("grid: []", "mine.yaml: grid: expected a list of at least one entry, got []"),
        ("grid: {merge: mean}", "grid: expected a list of at least one entry"),
        ("grid: [mean]", "mine.yaml: grid[0]: expected `name: value` pairs, got 'mean'"),
        (f"grid: [{ENTRY}]\ncells: [{{n_refs: 4}}]", "mine.yaml: cells[0]: adapters is missing"),
        (f"grid: [{ENTRY}]\ncells: [{{adapters: mean-own-n4-s1, n_refs: 4}}]", "did you mean mean-own-n4-s0?"),
        (f"grid: [{ENTRY}]\ncells: [{{adapters: mean-own-n4-s0, n_refs: 8}}]", "whole number from 1 to 4, got 8"),
        (f"grid: [{ENTRY}]\ncells: [{{adapters: mean-own-n4-s0, n_refs: 4}}]", "mean-own-n4-s0/n4 stands there twice"),
        (f"grid: [{ENTRY}]\ncells: [{{adapters: mean-own-n4-s0, n_refs: 1, prompts: my}}]", "expected one of own"),
        (f"grid: [{ENTRY}]\ncells: [{{adapters: mean-own-n4-s0, n_refs: 1, prompts: foreign2}}]",
         "mine.yaml: cells[0]: n_refs: expected at least 2 for foreign2, got 1"),
        ("grid: [{merge: mean, n_max: 9}]\ncells: [{adapters: mean-own-n9-s0, n_refs: 5, prompts: roles}]",
         "n_refs: expected at most 4 for roles, got 5"),
        (f"grid: [{ENTRY}]\ncells: 4", "mine.yaml: cells: expected a list, got 4"),
        ("grid: [{merge: mean, n_max: 4, target: hidden}]", "target: expected one of left_out, shown, got 'hidden'"),
        ("grid: [{merge: mean, n_max: 4, lams: [-1]}]", "mine.yaml: grid[0]: lams: expected λ ≥ 0, got -1"),
        ("lams: []", "mine.yaml: lams: expected at least one"),
        ("lams: [0.0, .nan]", "mine.yaml: lams: expected a finite number, got nan"),
        ("lams: [.inf]", "lams: expected a finite number, got inf"),
        ("lams: [-0.5]", "lams: expected λ ≥ 0, got -0.5"),
        ("lams: [much]", "lams: expected a finite number, got 'much'"),
        ("lams: [true]", "lams: expected a finite number, got True"),
        ("lams: 1.0", "lams: expected list[float], got 1.0"),
        ("lams: [0, 0.0]", "lams: 0.0 stands there twice"),
        ("lams: [0, 0.5]", "mine.yaml: lams: 0 (the floor) and 1 (as trained) were expected among [0.0, 0.5]"),
        ("lam: [1.0]", "mine.yaml: unknown key 'lam'; did you mean lams?"),
        ("notebooks: {05_generat: {}}", "unknown notebook '05_generat'; did you mean 05_generate?"),
        ("notebooks: {05_generate: {poeple: 8}}", "unknown parameter 'poeple'; did you mean people?"),
        ("notebooks: {05_generate: {lam: many}}", "mine.yaml: 05_generate: lam: expected a finite number"),
        ("notebooks: {05_generate: {people: 1.5}}", "people: expected a whole number, got 1.5"),
        ("notebooks: {05_generate: {people: true}}", "people: expected a whole number, got True"),
        ("notebooks: {05_generate: {merge: 3}}", "merge: expected text, got 3"),
        ("notebooks: {05_generate: {n_refs: [1, x]}}", "n_refs: expected a whole number, got 'x'"),
        ("notebooks: {05_generate: 8}", "mine.yaml: 05_generate: expected `name: value` pairs, got 8"),
        ("notebooks: [05_generate]", "mine.yaml: notebooks: expected `name: value` pairs"),
        ("- a list", "mine.yaml: expected `name: value` pairs"),
        ("lams: [0.0,\ngrid: }", "mine.yaml, line 2: not YAML"),
        ("when: !!python/object/apply:os.getcwd []", "mine.yaml, line 1: not YAML"),
    ],
)
def test_a_mistake_in_a_profile_is_one_line(load, text, said):
    with pytest.raises(ValueError) as error:
        load(text)
    assert said in one_line(error)


@pytest.mark.parametrize("views, needed, setting", [("mixed", "windows", "2"), ("roles", "quarters", "true")])
def test_views_need_what_is_cached(tmp_path, views, needed, setting):
    (tmp_path / "mine.yaml").write_text(f"grid: [{{merge: mean, n_max: 4, views: {views}}}]\n")
    name = f"mean-own-{views}-n4-s0"
    with pytest.raises(ValueError, match=f"{name}: views: {views} needs `{needed}` of 03_cache_features$"):
        config.load_profile(tmp_path / "mine.yaml")
    with open(tmp_path / "mine.yaml", "a") as file:
        file.write(f"notebooks: {{03_cache_features: {{{needed}: {setting}}}}}\n")
    assert list(config.load_profile(tmp_path / "mine.yaml").adapters) == [name]


@pytest.mark.parametrize("name", ["mni", "", "../configs/mini", "no/such.yaml", "m*"])
def test_an_unknown_profile_is_one_line(name):
    with pytest.raises(ValueError, match="no profile .* mini") as error:
        config.load_profile(name)
    one_line(error)


def test_an_unknown_notebook_is_one_line(folder):
    with pytest.raises(FileNotFoundError) as error:
        parameters(folder / "05_generat.ipynb")
    assert one_line(error) == "no notebook 05_generat in notebooks/; did you mean 05_generate?"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("people = 8", "expected `name: type = literal"),
        ("people: int = 2 * 4", "got `people: int = 2 * 4`"),
        ("people: int", "got `people: int`"),
        ("import os", "got `import os`"),
    ],
)
def test_a_parameters_cell_holds_literals_alone(tmp_path, source, said):
    with pytest.raises(ValueError) as error:
        parameters(write_notebook(tmp_path / "a.ipynb", source))
    assert said in one_line(error) and "a.ipynb" in str(error.value)


def test_a_notebook_without_parameters_cell_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="a.ipynb: expected one cell tagged 'parameters', got 0"):
        parameters(write_notebook(tmp_path / "a.ipynb", tags=()))


def test_the_command_line_says_what_a_profile_trains(capsys):
    assert config.main(["smoke"]) == 0
    said = capsys.readouterr().out
    assert "mean-own-n2r-s0/n2-other: λ = 1.0" in said and said.endswith("\nresults/smoke/paper/main.pdf\n")
    assert config.main(["smok"]) == 1
    assert capsys.readouterr().err == "no profile 'smok' in configs/; did you mean smoke?\n"
