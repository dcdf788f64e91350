"""The page over `explorer` and `table_browser`: what notebooks/explore.ipynb shows.

    explore = widgets.explore("mini")
    explore.generate    # and .strips, .attention, .photographs, .results

It is imported without a display; each part is a `panels.Panel`, which shows a picture where there are no widgets, or
the sentence that says what is missing.
"""

from __future__ import annotations

import html
import json
from base64 import b64decode
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple, TypeVar

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..data.captions import HAIR, LOOKS, MENTIONED_WHEN_FALSE, STATES, caption
from ..files import ROOT, atomic, short
from ..report import grids, plots
from ..workflow.config import DEFAULT
from . import explorer, table_browser
from .explorer import Drawn, Row, Session, Subject, Wish
from .panels import BLANK, Notice, Panel, Runner, Thumbnails, counted, figure_png, image, png, row, sentence
from .table_browser import Table

SAMPLES, LAM_MAX, LAM_STEP = 4, 1.5, 0.05
LAMS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # of the strip
WORDS = ("sample", "prompt", "leading", "attention", ".")
FLAT = "All prompts count alike everywhere: the merge of this adapter is made so."
BY_PLACE = ("concat", "gated")  # merges that can listen to different prompts in different places
VIEWS = [("whole", "own"), ("25 %", "window25"), ("14 %", "window14")]  # what is seen of a prompt
NARROW_BUTTONS = {"style": {"description_width": "initial", "button_width": "64px"}}
NARROW = {"style": {"description_width": "initial"}, "layout": {"width": "150px"}}
PLOT_WIDTH = 840  # pixels, of `table_browser.INCHES` at 100 dpi
DROP_FIELD = """<div class="ipa-drop" ondragover="event.preventDefault()" ondrop="event.preventDefault();
 event.stopPropagation(); const to = this.closest('.ipa-photographs').querySelector('textarea');
 Promise.all([...event.dataTransfer.files].map(file => new Promise(done => { const reader = new FileReader();
  reader.onloadend = () => done([file.name, (reader.result || '').split(',')[1] || '']); reader.readAsDataURL(file) })))
 .then(files => { to.value = JSON.stringify(files); to.dispatchEvent(new Event('change', {bubbles: true})) })"
>Drop photographs of one person here, or</div>"""
Stream = Generator[None, None, None]
Made = TypeVar("Made")


class Parts(NamedTuple):
    """The parts of the page, each to be displayed."""

    generate: ipywidgets.Widget
    strips: ipywidgets.Widget
    attention: ipywidgets.Widget
    photographs: ipywidgets.Widget
    results: ipywidgets.Widget


def explore(profile: str = DEFAULT, max_refs: int = 4, people: int = 24, judged_by: str = "",
            device: str = "cpu", **at_first) -> Parts:
    """All parts over the results of a profile; `at_first`: where the controls of `Page` stand.

    What is missing is a sentence in place of the parts that need it.
    """
    results = or_sentence(lambda: Results(table_browser.read_table(profile)).panel)
    who = {"max_refs": max_refs, "people": people, "seed": at_first.get("seed", 0)}
    opened = {"judged_by": judged_by, "device": device}
    page = or_sentence(lambda: Page(explorer.open_session(profile, **who, **opened), **at_first))
    if isinstance(page, Notice):
        return Parts(*[page] * 4, results)
    return Parts(page.panel, Strips(page).panel, Attention(page).panel, Photographs(page).panel, results)


def or_sentence(make: Callable[[], Made]) -> Made | Notice:
    """Value that is made, or the sentence that says why it can't be."""
    try:
        return make()
    except explorer.EXPECTED as error:
        return Notice(str(error))


class Page:
    """A person, prompts, a text, λ and all else that can be moved, and the pictures that follow.

    The arguments after the session are where the controls stand at first, and the folder for what is kept.
    """

    def __init__(self, session: Session, adapter: str = "", lam: float = 1.0, w: float = 3.0, steps: int = 20,
                 seed: int = 0, keep: str = "results/explore"):  # fmt: skip
        self.session, self.keep_in, self.holding = session, ROOT / keep, True
        self.runner, self.status, self.bar = Runner(self.say), ipywidgets.HTML(), progress()
        self.drawn: tuple[Wish, Drawn] | None = None
        self.kept: list[tuple[np.ndarray, dict]] = []
        self.others: list[Callable[[], None]] = []  # parts that show somebody: told when it is somebody else
        self._numbers(lam, w, steps, seed)
        self._choices(adapter)
        self._listen_to_controls()
        self.panel = Panel(self._parts(), self._first, self.still)
        self.choose_person(0)

    # ---- controls ----------------------------------------------------------------------------------------------

    def _numbers(self, lam: float, w: float, steps: int, seed: int) -> None:
        self.lam = ipywidgets.FloatSlider(lam, min=0, max=LAM_MAX, step=LAM_STEP, description="λ",
                                          style={"description_width": "28px"}, layout={"width": "330px"})  # fmt: skip
        short = NARROW | {"layout": {"width": "110px"}}
        self.w = ipywidgets.BoundedFloatText(w, min=0, max=20, step=0.5, description="w", **short)
        self.steps = ipywidgets.BoundedIntText(steps, min=1, max=200, description="steps", **short)
        self.seed = ipywidgets.BoundedIntText(seed, min=0, max=2**31, description="seed", **short)
        self.sample = ipywidgets.Dropdown(options=range(1, SAMPLES + 1), description="sample", **NARROW)

    def _choices(self, adapter: str) -> None:
        names = self.session.adapters
        adapter = adapter if adapter in names else names[0]
        self.n_max = self.session.adapter(adapter).config.n_slots  # N_max, of the last adapter that could be loaded
        wide = NARROW | {"layout": {"width": "260px"}}
        self.adapter = ipywidgets.Dropdown(options=names, value=adapter, description="adapter", **wide)
        self.caption = ipywidgets.Text(description="caption", continuous_update=False, layout={"width": "98%"})
        self.attributes = {name: ipywidgets.ToggleButton(description=words, layout={"width": "auto", "height": "26px"})
                           for name, words in (HAIR | LOOKS | STATES).items()}  # fmt: skip
        self.views = ipywidgets.ToggleButtons(options=VIEWS, description="shown", **NARROW_BUTTONS)
        self.prompts, self.people = Thumbnails(self._ticked, 72), Thumbnails(self.choose_person, 56, single=True)
        people = self.session.people
        self.people.show([self.session.thumbnail(person) for person in people], [""] * len(people), [0])

    def _listen_to_controls(self) -> None:
        self.adapter.observe(self._other_adapter, "value")
        self.views.observe(self._other_view, "value")
        for control in (self.lam, self.w, self.steps, self.seed, self.adapter, self.caption):
            control.observe(self.redraw, "value")
        for one in self.attributes.values():
            one.observe(self._reworded, "value")

    def choose_person(self, number: int) -> None:
        """The person of a thumbnail: the pictures set aside are ticked, the caption is that of the held-out one."""
        self.show_subject(self.session.subject(self.session.people[number]))

    def show_subject(self, subject: Subject) -> None:
        """Other pictures to tick, and what is drawn of them."""
        self.whole = subject
        self.holding = True
        self._show_prompts(range(min(self.n_max, len(subject.pictures))))
        for name, button in self.attributes.items():
            button.value = subject.attributes[name] != (name in MENTIONED_WHEN_FALSE)
        self.caption.value = subject.caption
        self.truth.value = png(BLANK if subject.truth is None else subject.truth, 128)
        self.truth_says.value = of_truth(subject, self.session.score_of_truth(subject))
        self.holding = False
        for clear in self.others:
            clear()
        self.redraw()

    def _show_prompts(self, ticked: Sequence[int]) -> None:
        """The pictures to tick, as much of them as an adapter is shown."""
        self.subject = self.session.seen_through(self.whole, self.views.value)
        labels = [f"{i + 1} {mark}" for i, mark in enumerate(self.subject.marks)]
        self.prompts.show(self.subject.pictures, labels, ticked)

    def _other_view(self, _) -> None:
        self._show_prompts(self.prompts.chosen)
        for clear in self.others:
            clear()
        self.redraw()

    @property
    def weight(self) -> float:
        """λ, without what the steps of the slider leave in the last digits."""
        return round(self.lam.value, 4)

    @property
    def noise(self) -> int:
        """The sample whose noise strips and maps have."""
        return self.sample.value - 1

    def _ticked(self, number: int) -> None:
        ticked = self.prompts.chosen
        if len(ticked) > self.n_max:
            self.prompts.set([one for one in ticked if one != number])
            return self.say(f"{self.adapter.value} takes up to {self.n_max} prompts: take one away first", True)
        self.redraw()

    def _other_adapter(self, _) -> None:
        """Of the prompts those stay that it has slots for; what can't be loaded is said by what draws with it."""
        with suppress(*explorer.EXPECTED):
            self.n_max = self.session.adapter(self.adapter.value).config.n_slots
            self.prompts.set(self.prompts.chosen[: self.n_max])

    def _reworded(self, _) -> None:
        """A caption of the attributes that are ticked."""
        if not self.holding:
            ticked = {name: button.value != (name in MENTIONED_WHEN_FALSE) for name, button in self.attributes.items()}
            self.caption.value = caption(ticked)

    def wish(self, rows: tuple[Row, ...]) -> Wish:
        """Request that the controls stand for."""
        return Wish(self.adapter.value, self.subject, self.caption.value.strip(), rows, self.w.value, self.steps.value,
                    self.seed.value)  # fmt: skip

    def say(self, text: str, wrong: bool = False) -> None:
        """A sentence below the pictures."""
        self.status.value = sentence(text, wrong)

    def heard_too(self) -> tuple[ipywidgets.Widget, ...]:
        """The button to stop, the sentence and the bar, for another part of the page."""
        return button("stop", lambda _: self.stop(), width="60px"), self.status, self.bar

    def follow(self, stream: Generator[int, None, object]) -> Generator[None, None, object]:
        """A session's stream with the bar of this page."""
        self.bar.max = self.steps.value
        return counted(stream, self.bar)

    # ---- generate ----------------------------------------------------------------------------------------------

    def _parts(self) -> list[ipywidgets.Widget]:
        self.truth, self.truth_says = image(128), ipywidgets.HTML()
        self.shown, self.says = [image(128) for _ in range(SAMPLES)], [ipywidgets.HTML() for _ in range(SAMPLES)]
        keep = [button("keep", lambda _, i=i: self.keep(i), width="60px") for i in range(SAMPLES)]
        samples = [column(*parts) for parts in zip(self.shown, self.says, keep, strict=True)]
        self.strip, self.save_button = image(), button("save as a figure", lambda _: self.save_kept(), width="140px")
        self.kept_box = ipywidgets.VBox([self.strip, self.save_button], layout={"display": "none"})
        return [
            heading("Person"), self.people, heading("Prompts: none is text alone"), self.views, self.prompts,
            self.caption, row(*self.attributes.values()),
            row(self.lam, self.w, self.steps, self.seed, self.adapter, align_items="center"),
            row(column(self.truth, self.truth_says), *samples, margin="8px 0 0 0"),
            row(*self.heard_too(), align_items="center"), self.kept_box,
        ]  # fmt: skip

    def redraw(self, _=None) -> None:
        """Draw what the controls ask for, in place of what is being drawn."""
        if not self.holding:
            self.runner.start("grid", self._draw_grid())

    def _draw_grid(self) -> Stream:
        wish = self.wish(explorer.grid(self.prompts.chosen, self.weight, SAMPLES))
        drawn = yield from self.follow(self.session.draw(wish))
        self.drawn = wish, drawn
        for shown, says, picture, score in zip(self.shown, self.says, *vars(drawn).values(), strict=True):
            shown.value, says.value = png(picture, 128), f"identity <b>{number(score)}</b>"
        n, mean = len(wish.rows[0].prompts), number(np.mean(drawn.scores))
        self.say(f"N = {n}, λ = {wish.rows[0].lam:g}: mean identity {mean}")

    def _first(self) -> None:
        """What is to be seen before anything is moved."""
        if self.drawn is None:
            self.runner.finish(self._draw_grid())

    def still(self) -> bytes:
        """Prompts, held-out picture and samples side by side."""
        if self.drawn is None:
            return png(BLANK)
        wish, drawn = self.drawn
        given = [wish.subject.pictures[i] for i in wish.rows[0].prompts]
        truth = [] if wish.subject.truth is None else [wish.subject.truth]
        labels = [f"prompt {i + 1}" for i in range(len(given))] + ["held out"] * len(truth)
        labels += [f"λ = {wish.rows[0].lam:g}: {number(score)}" for score in drawn.scores]
        return figure_png(grids.strip(np.stack([*given, *truth, *drawn.pictures]), labels, size=1.8, columns=9))

    def stop(self) -> None:
        """End what is being drawn between two steps."""
        self.say("stopped; move anything to draw again" if self.runner.stop() else "nothing is being drawn")

    def keep(self, sample: int) -> None:
        """Put a picture of the grid with its parameters into the strip."""
        if self.drawn is None:
            return self.say("there is no picture yet", True)
        wish, drawn = self.drawn
        self.kept.append((drawn.pictures[sample], parameters(wish, sample) | {"identity": drawn.scores[sample]}))
        self.strip.value, self.kept_box.layout.display = figure_png(self._kept_figure()), "flex"

    def _kept_figure(self) -> Figure:
        labels = [f"N = {one['n_refs']}, λ = {one['lam']:g}, w = {one['guidance']:g}\n"
                  f"seed {one['seed']}, sample {one['sample']}: {number(one['identity'])}" for _, one in self.kept]
        return grids.strip(np.stack([picture for picture, _ in self.kept]), labels, size=3.6, columns=4)

    def save_kept(self) -> None:
        """The strip as kept.pdf, and all parameters of its pictures as kept.csv beside it; what is there stays."""
        table, figure = free_names(self.keep_in, "kept", (".csv", ".pdf"))
        try:
            with atomic(table) as file:
                pd.DataFrame([what for _, what in self.kept]).to_csv(file, index=False)
            plots.save(self._kept_figure(), figure, notebook="explore")
        except OSError as error:
            return self.say(str(error), True)
        self.say(f"saved: {short(figure)}, and {table.name} with all parameters")


class Strips:
    """Rows of pictures over λ and over N, with the noise of one sample."""

    def __init__(self, page: Page):
        self.page, self.over_lam, self.over_n = page, image(), image()
        lam = button("draw the λ strip", lambda _: self.draw("λ"), width="150px")
        n = button("draw the N strip", lambda _: self.draw("N"), width="150px")
        parts = [row(page.sample, lam, n, *page.heard_too(), align_items="center"), self.over_lam, self.over_n]
        self.panel = Panel(parts, self._first, lambda: self.over_lam.value)
        self.drawn: dict[str, Drawn] = {}
        page.others.append(self.clear)

    def clear(self) -> None:
        """Nothing of somebody else stays."""
        self.over_lam.value = self.over_n.value = png(BLANK)

    def draw(self, over: str) -> None:
        """Draw the row over λ or over N."""
        self.page.runner.start(over, self._draw(over))

    def _draw(self, over: str) -> Stream:
        page = self.page
        make, weight = (explorer.over_lam, LAMS) if over == "λ" else (explorer.over_n, page.weight)
        rows = make(page.prompts.chosen, weight, page.noise)
        drawn = self.drawn[over] = yield from page.follow(page.session.draw(page.wish(rows)))
        at = [f"λ = {one.lam:g}" if over == "λ" else f"N = {len(one.prompts)}" for one in rows]
        labels = [f"{name}\n{number(score)}" for name, score in zip(at, drawn.scores, strict=True)]
        shown = self.over_lam if over == "λ" else self.over_n
        shown.value = figure_png(grids.strip(drawn.pictures, labels, columns=9))

    def _first(self) -> None:
        for over in ("λ", "N"):
            if over not in self.drawn:
                self.page.runner.finish(self._draw(over))


class Attention:
    """Panel of which prompt each region of a sample attended to, of a layer or of all."""

    def __init__(self, page: Page):
        self.page, self.map, self.note = page, image(), ipywidgets.HTML()
        self.layer = ipywidgets.Dropdown(options=[explorer.EVERYWHERE], description="layer", layout={"width": "420px"})
        self.layer.observe(self.show, "value")
        self.heard: tuple[Wish, np.ndarray, dict[str, np.ndarray]] | None = None
        go = button("show attention", lambda _: self.page.runner.start("attention", self._listen()), width="150px")
        parts = [row(page.sample, self.layer, go, *page.heard_too(), align_items="center"), self.map, self.note]
        self.panel = Panel(parts, self._first, lambda: self.map.value)
        page.others.append(self.clear)

    def clear(self) -> None:
        """Nothing of somebody else stays."""
        self.heard, self.map.value, self.note.value = None, png(BLANK), ""

    def _listen(self) -> Stream:
        page = self.page
        wish = page.wish((Row(page.prompts.chosen, page.weight, page.noise),))
        shares = yield from page.follow(page.session.listen(wish))
        drawn = yield from page.follow(page.session.draw(wish))
        self.heard = wish, drawn.pictures[0], shares
        if self.layer.options != (names := tuple((short_layer(name), name) for name in shares)):
            self.layer.options = names
        self.show()

    def show(self, _=None) -> None:
        """The maps of the layer that is chosen."""
        if self.heard is None or self.layer.value not in self.heard[2]:
            return
        wish, picture, shares = self.heard
        prompts = wish.subject.pictures[list(wish.rows[0].prompts)]
        self.map.value = figure_png(grids.prompt_regions(picture, shares[self.layer.value], prompts, words=WORDS))
        flat = np.ptp(shares[self.layer.value], axis=(1, 2)).max() < grids.TIE and len(prompts) > 1
        self.note.value = sentence(" ".join([FLAT, self.others()]) if flat else "")

    def others(self) -> str:
        """Adapters that are better looked at here."""
        session = self.page.session
        names = [name for name in session.adapters if session.adapter(name).config.merge in BY_PLACE]
        return f"Choose {' or '.join(names[:2])} above to see them told apart." if names else ""

    def _first(self) -> None:
        if self.heard is None:
            self.page.runner.finish(self._listen())


class Photographs:
    """Own files as prompts: a field to drop them on, and a button to choose them."""

    def __init__(self, page: Page):
        self.page, self.says, self.count = page, ipywidgets.HTML(), 0
        self.upload = ipywidgets.FileUpload(accept="image/*", multiple=True, description="choose files")
        self.dropped = ipywidgets.Textarea(continuous_update=False, layout={"display": "none"})
        self.upload.observe(self._chosen, "value")
        self.dropped.observe(self._dropped, "value")
        field = ipywidgets.HTML(DROP_FIELD)
        parts = [row(field, self.upload, align_items="center"), self.dropped, self.says]
        self.panel = Panel(parts, lambda: None, lambda: page.still())
        self.panel.add_class("ipa-photographs")

    def _chosen(self, change) -> None:
        if change["new"]:
            self.take({file["name"]: bytes(file["content"]) for file in change["new"]})

    def _dropped(self, change) -> None:
        if change["new"]:
            self.take({name: b64decode(content) for name, content in json.loads(change["new"])})
            self.dropped.value = ""

    def take(self, files: Mapping[str, bytes]) -> None:
        """Files by name as the pictures to tick; a sentence for each that is no picture."""
        taken, wrong = explorer.read_photographs(files, self.page.session.models.picture_size)
        said = [sentence(text, wrong=True) for text in wrong]
        if len(taken):
            self.count += 1
            self.page.people.set([])
            self.page.show_subject(self.page.session.own_subject(taken, self.count))
            said.append(sentence(f"your photographs that can be ticked above: {len(taken)}"))
        self.says.value = "<br>".join(said)


class Results:
    """The tidy table: rows chosen by filters, a figure whose points can be clicked, and what lies behind a row."""

    def __init__(self, table: Table):
        self.table = table
        self.figure, self.samples, self.details, self.dots = image(), image(), ipywidgets.HTML(), []
        self.plot = ipywidgets.Box([self.figure], layout={"width": f"{PLOT_WIDTH}px", "flex": "none"})
        self.plot.add_class("ipa-plot")
        self.list = ipywidgets.Select(rows=8, layout={"width": "98%"}).add_class("ipa-rows")
        self._choices()
        says, head = sentence(table.missing, wrong=True), f'<pre class="ipa-head">{table_browser.HEAD}</pre>'
        parts = [ipywidgets.HTML(says), row(*self.filters.values()), row(self.metric, self.over), self.plot,
                 ipywidgets.HTML(head), self.list, self.details, self.samples]  # fmt: skip
        self.panel = Panel(parts, lambda: None, lambda: self.figure.value)
        self.update()

    def _choices(self) -> None:
        table = self.table
        self.filters = {name: choice(name, table_browser.values(table.rows, name)) for name in table_browser.FILTERS}
        metrics = [(name, key) for key, name in table_browser.METRICS.items() if key in set(table.rows["metric"])]
        self.metric = ipywidgets.Dropdown(options=metrics, description="metric", **NARROW)
        self.over = ipywidgets.Dropdown(options=[("λ", "lam"), ("N", "n_refs")], description="over", **NARROW)
        for name, value in table_browser.usual_filters(table.rows).items():
            self.filters[name].value = value
        for control in (*self.filters.values(), self.metric, self.over):
            control.observe(self.update, "value")
        self.list.observe(self._listed, "index")

    def update(self, _=None) -> None:
        """The rows that the filters leave, as a figure and as a list."""
        wanted = {name: control.value for name, control in self.filters.items() if control.value is not None}
        self.rows = table_browser.chosen(self.table.rows, self.metric.value, wanted)
        figure = table_browser.figure(self.table.rows, self.rows, self.metric.value, self.over.value)
        self.figure.value = figure_png(figure, dpi=figure.dpi)
        places = table_browser.places(figure, self.rows, self.over.value)
        self.dots = [self._dot(i, *place) for i, place in enumerate(places)]
        self.plot.children = [self.figure, *self.dots]
        self.list.options = [(table_browser.line(one), i) for i, one in self.rows.iterrows()]
        self.list.index = None
        self.details.value, self.samples.layout.display = sentence(f"{len(self.rows)} rows"), "none"

    def _dot(self, number: int, x: float, y: float) -> ipywidgets.Button:
        place = {"left": f"{100 * x:.2f}%", "top": f"{100 * y:.2f}%"}
        dot = ipywidgets.Button(tooltip=table_browser.line(self.rows.iloc[number]), layout=place).add_class("ipa-dot")
        dot.on_click(lambda _: setattr(self.list, "index", number))
        return dot

    def _listed(self, change) -> None:
        if change["new"] is not None:
            self.choose(change["new"])

    def choose(self, number: int) -> None:
        """Show what lies behind a row: its samples, run folder and executed notebook."""
        chosen = self.rows.iloc[number]
        for i, dot in enumerate(self.dots):
            (dot.add_class if i == number else dot.remove_class)("ipa-on")
        said = [f"<b>{html.escape(table_browser.line(chosen))}</b>"]
        said += [f"{what} <code>{html.escape(path)}</code>" for what, path in table_browser.behind(self.table, chosen)]
        try:
            shown, labels = table_browser.samples(self.table, chosen)
            self.samples.value, self.samples.layout.display = figure_png(grids.strip(shown, labels, columns=8)), ""
        except explorer.EXPECTED as error:
            said.append(sentence(str(error), wrong=True))
            self.samples.layout.display = "none"
        self.details.value = "<br>".join(said)


# ---- small ones ------------------------------------------------------------------------------------------------


def progress() -> ipywidgets.IntProgress:
    """Bar that a stream fills."""
    return ipywidgets.IntProgress(layout={"width": "160px", "visibility": "hidden"})


def button(text: str, act: Callable, width: str) -> ipywidgets.Button:
    """Button with a text that calls `act`."""
    made = ipywidgets.Button(description=text, layout={"width": width})
    made.on_click(act)
    return made


def column(*children: ipywidgets.Widget) -> ipywidgets.VBox:
    """Children below each other."""
    return ipywidgets.VBox(children, layout={"align_items": "center", "margin": "0 12px 0 0"})


def heading(text: str) -> ipywidgets.HTML:
    """Heading of a part of the page."""
    return ipywidgets.HTML(f"<b>{html.escape(text)}</b>")


def choice(name: str, values: Sequence) -> ipywidgets.Dropdown:
    """All, or one of the values of a column."""
    options = [("all", None), *((f"{value:g}" if isinstance(value, float) else str(value), value) for value in values)]
    return ipywidgets.Dropdown(options=options, description=table_browser.AXES.get(name, name), **NARROW)


def free_names(folder: Path, stem: str, suffixes: Sequence[str]) -> list[Path]:
    """Files of one name, a suffix each, none of which is there: stem, else stem-2, stem-3 …"""
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    files = ([folder / f"{name}{suffix}" for suffix in suffixes] for name in names)
    return next(some for some in files if not any(file.exists() for file in some))


def parameters(wish: Wish, sample: int) -> dict[str, object]:
    """Parameters that a picture of a wish was made with."""
    made = wish.rows[sample]
    return {"person": wish.subject.name, "adapter": wish.adapter, "n_refs": len(made.prompts),
            "shown": wish.subject.shown, "prompts": " ".join(str(one + 1) for one in made.prompts),
            "caption": wish.caption, "lam": made.lam, "guidance": wish.w,
            "steps": wish.steps, "seed": wish.seed, "sample": made.sample + 1}  # fmt: skip


def number(score: float) -> str:
    """Text of a score."""
    return "–" if np.isnan(score) else f"{score:.2f}"


def of_truth(subject: Subject, score: float) -> str:
    """Text below the held-out picture, or in place of it."""
    if subject.truth is None:
        return "photographs not<br>ticked are judges"
    return f"held out: identity <b>{number(score)}</b>"


def short_layer(name: str) -> str:
    """up_blocks.1.attentions.0.transformer_blocks.0.attn2 -> up_blocks.1.attentions.0."""
    return name.split(".transformer_blocks")[0]
