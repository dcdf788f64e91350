"""The page without a browser: what its controls do, that it can be stopped, what it says."""

import asyncio
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ipa_lib import files
from ipa_lib.explore import explorer, panels, table_browser, widgets
from ipa_lib.workflow import paths, provenance, runs

STEPS = 2


@pytest.fixture(scope="module")
def session(small_results):
    return explorer.open_session(str(small_results))


@pytest.fixture
def page(session, tmp_path):
    return widgets.Page(session, "mean-own-n4r-s0", steps=STEPS, keep=str(tmp_path / "kept"))


def shown(page):
    return [image.value for image in page.shown]


def text(widget):
    """All that stands in the HTML of a widget and in those below it."""
    return " ".join([getattr(widget, "value", "") if isinstance(widget, ipywidgets.HTML) else "",
                     *(text(child) for child in getattr(widget, "children", ()))])  # fmt: skip


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_page_opens_with_pictures_and_scores(page):
    assert len({*shown(page)}) == 4 and picture(page.shown[0].value).shape == (128, 128, 3)
    assert all("identity <b>" in says.value for says in page.says)
    assert "held out: identity <b>" in page.truth_says.value and "N = 4, λ = 1: mean identity" in page.status.value


MOVED = {"lam": 0.0, "w": 1.0, "steps": 3, "seed": 1, "adapter": "concat-own-n4-s0", "caption": "a photo"}


@pytest.mark.parametrize(("control", "value"), MOVED.items())
def test_the_grid_follows_every_control(page, control, value):
    before = shown(page)
    getattr(page, control).value = value
    assert all(a != b for a, b in zip(before, shown(page), strict=True))


def test_ticking_prompts_draws_anew_and_none_is_text_alone(page):
    before = shown(page)
    page.prompts.buttons[0].value = False
    assert page.prompts.chosen == (1, 2, 3) and shown(page) != before
    for button in page.prompts.buttons:
        button.value = False
    assert "N = 0" in page.status.value
    without = shown(page)
    page.lam.value = 0.5
    assert shown(page) == without


def test_partial_prompts_are_shown_and_given_to_the_adapter(page, session):
    whole, before, ticked = page.subject, shown(page), page.prompts.chosen
    page.views.value = "window14"
    assert page.prompts.chosen == ticked and shown(page) != before
    part = page.subject
    visible = (part.pictures != 128).any(-1).sum((1, 2))
    assert (visible <= 24 * 24).all() and (visible > 12 * 24).all() and part.shown == "window14"
    assert torch.allclose(part.embeds, session.embed(part.pictures), atol=1e-5) and part.truth is whole.truth
    page.choose_person(1)
    assert page.subject.shown == "window14"  # of the next person, too
    page.views.value = "own"
    page.choose_person(0)
    assert page.subject is session.subject(session.people[0]) and shown(page) == before


def test_more_prompts_than_slots_are_refused_in_a_sentence(page):
    page.prompts.buttons[5].value = True
    assert page.prompts.chosen == (0, 1, 2, 3) and "takes up to 4 prompts" in page.status.value


def test_another_person_brings_pictures_caption_and_truth(page, session):
    before = shown(page), page.caption.value, page.truth.value
    page.people.buttons[1].value = True
    assert page.people.chosen == (1,) and page.subject.number == session.people[1]
    assert page.caption.value == page.subject.caption and page.truth.value != before[2]
    assert shown(page) != before[0]


def test_an_adapter_that_is_damaged_is_a_sentence_and_the_page_goes_on(session, small_results, tmp_path):
    shutil.copytree(small_results / "adapters", tmp_path / "adapters")
    damaged = explorer.adapter_file(tmp_path, "mean-own-n4r-s0")
    provenance.write_provenance(damaged.parent, 0, "cpu", "", sha256={damaged.name: "another"})
    page = widgets.Page(replace(session, results=tmp_path, memory={}), "concat-own-n4-s0", steps=STEPS)
    page.adapter.value = "mean-own-n4r-s0"
    assert "not the bytes that provenance.json names" in page.status.value
    page.people.buttons[1].value = True
    assert page.subject.number == session.people[1] and "not the bytes" in page.status.value
    page.adapter.value = "concat-own-n4-s0"
    assert "mean identity" in page.status.value


def test_ticked_attributes_are_worded(page):
    for name, button in page.attributes.items():
        button.value = name in ("Blond_Hair", "No_Beard")
    assert page.caption.value == "a photo of a person with blond hair and a beard"


def test_a_kept_picture_has_its_parameters(page, tmp_path):
    page.keep(1)
    page.lam.value = 0.25
    page.keep(1)
    assert page.kept_box.layout.display == "flex"
    page.save_kept()
    assert (tmp_path / "kept" / "kept.pdf").read_bytes().startswith(b"%PDF") and "kept.pdf" in page.status.value
    table = pd.read_csv(tmp_path / "kept" / "kept.csv")
    assert table["lam"].tolist() == [1.0, 0.25] and table["sample"].tolist() == [2, 2]


def test_what_was_saved_before_stays(page, tmp_path):
    for lam in (1.0, 0.25):
        page.lam.value = lam
        page.keep(0)
        page.save_kept()
    tables = [pd.read_csv(tmp_path / "kept" / name)["lam"].tolist() for name in ("kept.csv", "kept-2.csv")]
    assert tables == [[1.0], [1.0, 0.25]] and "kept-2.pdf, and kept-2.csv" in page.status.value
    assert sorted(file.name for file in (tmp_path / "kept").glob("*.pdf")) == ["kept-2.pdf", "kept.pdf"]


def test_a_number_is_free_where_neither_file_is(tmp_path):
    def names():
        return [file.name for file in widgets.free_names(tmp_path, "kept", (".csv", ".pdf"))]

    assert names() == ["kept.csv", "kept.pdf"]
    (tmp_path / "kept.pdf").touch()  # its table was lost
    (tmp_path / "kept-2.csv").touch()
    assert names() == ["kept-3.csv", "kept-3.pdf"]


def test_what_cant_be_saved_is_a_sentence(page, tmp_path):
    (tmp_path / "kept").touch()
    page.keep(0)
    page.save_kept()
    assert "can&#x27;t be written" in page.status.value


def test_strips_are_drawn_by_one_click(page):
    strips = widgets.Strips(page)
    empty = strips.over_n.value
    strips.draw("λ")
    strips.draw("N")
    assert strips.over_n.value != empty
    assert [len(strips.drawn[over].pictures) for over in ("λ", "N")] == [7, 5]
    page.people.buttons[1].value = True
    assert strips.over_n.value == strips.over_lam.value == empty


def test_attention_by_layer_and_its_remark(page):
    attention = widgets.Attention(page)
    attention.panel._repr_mimebundle_()
    assert "count alike" in attention.note.value
    everywhere = attention.map.value
    page.adapter.value = "concat-own-n4-s0"
    page.runner.start("attention", attention._listen())
    assert "count alike" not in attention.note.value and attention.map.value != everywhere
    everywhere = attention.map.value
    attention.layer.index = 2
    assert attention.map.value != everywhere
    page.lam.value = 0
    page.runner.start("attention", attention._listen())
    assert "nothing to listen to" in page.status.value


def photograph(shade):
    file = io.BytesIO()
    Image.new("RGB", (90, 70), (shade, 90, 60)).save(file, "PNG")
    return file.getvalue()


def test_own_files_become_prompts_and_a_wrong_one_gets_a_sentence(page):
    photographs, before = widgets.Photographs(page), shown(page)
    told = {"type": "", "size": 1, "last_modified": datetime.fromtimestamp(0)}
    content = {"name": "a.png", "content": memoryview(photograph(9)), **told}
    photographs.upload.value = ({**content}, {**content, "name": "b.jpg", "content": memoryview(b"no picture")})
    assert "b.jpg: not a readable picture" in photographs.says.value and "Traceback" not in photographs.says.value
    assert page.prompts.chosen == (0,) and shown(page) != before and "judges" in page.truth_says.value
    assert "ticked above: 1" in photographs.says.value
    photographs.dropped.value = '[["c.png", "bm9uZQ=="]]'
    assert "c.png" in photographs.says.value and page.subject.name == "your photographs"


def test_the_table_is_filtered_and_a_point_leads_to_its_samples(small_results):
    results = widgets.Results(table_browser.read_table(str(small_results)))
    assert len(results.list.options) == len(results.dots) == 4
    results.filters["merge"].value = None
    results.filters["lam"].value = 1.0
    assert len(results.list.options) == 4 and set(results.rows["lam"]) == {1.0}
    figure = results.figure.value
    results.metric.value = "fid"
    assert results.figure.value != figure and set(results.rows["metric"]) == {"fid"}
    results.dots[2].click()
    assert results.list.index == 2 and results.samples.layout.display == ""
    assert "run folder" in results.details.value and "05_generate.ipynb" in results.details.value


def test_without_results_all_parts_are_sentences(tmp_path, monkeypatch):
    published = paths.results_dir("published")
    monkeypatch.setattr(explorer, "results_dir", lambda name: tmp_path / name)
    *parts, results = widgets.explore("mini")
    for part in parts:
        assert "run `make report`" in part.value and "make report" in part._repr_mimebundle_()["text/html"]
    monkeypatch.setattr(table_browser, "results_dir",
                        lambda name: published if name == "published" else tmp_path / name)
    found = widgets.Results(table_browser.read_table("mini"))
    assert "make report" in text(found.panel)
    found.choose(0)
    assert "make report PROFILE=full" in found.details.value


def test_it_is_imported_without_a_display():
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    command = [sys.executable, "-c", "import ipa_lib.explore.widgets"]
    assert subprocess.run(command, cwd=files.ROOT, env=environment).returncode == 0


# ---- streams ----------------------------------------------------------------------------------------------------


def numbers(told, count=1000):
    for i in range(count):
        told.append(i)
        yield


def test_a_stream_is_stopped_between_two_steps():
    async def press_stop():
        told, runner = [], panels.Runner(print)
        runner.start("grid", numbers(told))
        while len(told) < 3:
            await asyncio.sleep(0.001)
        assert runner.stop()
        await asyncio.sleep(0.01)
        return told, runner

    told, runner = asyncio.run(press_stop())
    assert 3 <= len(told) < 1000 and not runner.stop()


def test_what_is_moved_on_at_once_is_not_drawn_and_others_wait_their_turn():
    async def move():
        first, second, other, runner = [], [], [], panels.Runner(print)
        runner.start("grid", numbers(first, 20))
        runner.start("grid", numbers(second, 20))
        runner.start("strip", numbers(other, 20))
        while len(other) < 20:
            await asyncio.sleep(0.001)
            assert not other or len(second) == 20
        return first, second

    assert asyncio.run(move()) == ([], list(range(20)))


def test_a_mistake_is_said_and_what_is_none_is_raised(recwarn):
    def fails(error):
        yield
        raise error

    said = []
    runner = panels.Runner(lambda text, wrong: said.append(text))
    runner.start("grid", fails(ValueError("w: too large")))
    with pytest.raises(KeyError):
        runner.start("grid", fails(KeyError("odd")))
    assert said == ["w: too large", "KeyError: 'odd'"]


# ---- the notebook ------------------------------------------------------------------------------------------------


def test_the_notebook_gives_a_static_view_where_nothing_shows_widgets(small_results, tmp_path):
    import nbformat

    values = {"profile": str(small_results), "steps": STEPS, "keep": str(tmp_path / "kept")}
    runs.execute(paths.NOTEBOOKS / "explore.ipynb", tmp_path / "out.ipynb", values, progress=False)
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    bundles = [output.data for cell in cells if cell.cell_type == "code" for output in cell.outputs if "data" in output]
    assert len(bundles) == 5 and all("image/png" in data for data in bundles)
