"""Small pieces of a page over ipywidgets: pictures that can be clicked, streams that can be stopped, a static view.

Nothing here needs a display or a browser; without a running event loop a stream is followed to its end at once.
"""

from __future__ import annotations

import asyncio
import html
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from io import BytesIO
from itertools import count
from typing import TypeVar

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .explorer import EXPECTED

STYLE = """
.ipa-pic {background-size: cover !important; border: 3px solid transparent; border-radius: 4px; opacity: .45;
          padding: 0; box-sizing: border-box; flex: none;}
.ipa-pic:hover {opacity: .8}
.ipa-pic.mod-active, .ipa-pic.ipa-on {border-color: #1f77b4; opacity: 1; box-shadow: none}
.ipa-plot {position: relative; overflow: visible !important}
.ipa-dot {position: absolute; width: 16px; height: 16px; min-width: 0; padding: 0; margin: -8px 0 0 -8px;
          border-radius: 50%; background: transparent !important; cursor: pointer}
.ipa-dot:hover, .ipa-dot.ipa-on {outline: 2px solid #d62728}
.ipa-rows select {font-family: monospace; font-size: 12px; white-space: pre}
.ipa-head {font-size: 12px; margin: 0 4px !important}
.ipa-drop {border: 2px dashed #999; border-radius: 6px; padding: 10px 16px; color: var(--jp-ui-font-color2, #555)}
"""
WAIT = 0.05  # seconds; what is moved on within them is not drawn
PAUSE = 0.003  # seconds after a step, in which the kernel hears what was moved or pressed
BLANK = np.full((1, 1, 3), 235, np.uint8)
Result = TypeVar("Result")
serial = count()  # of the classes of CSS


def png(picture: np.ndarray, side: int = 0) -> bytes:
    """A uint8 picture [H,W,3] as a file, of `side` pixels a side (0: its own)."""
    image, file = Image.fromarray(picture), BytesIO()
    (image.resize((side, side), Image.Resampling.BICUBIC) if side else image).save(file, "PNG")
    return file.getvalue()


def figure_png(figure: Figure, dpi: int = 130) -> bytes:
    """A figure as a file."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def image(side: int = 0) -> ipywidgets.Image:
    """A picture that is not there yet."""
    size = {"width": f"{side}px", "height": f"{side}px"} if side else {"max_width": "100%", "align_self": "flex-start"}
    return ipywidgets.Image(value=png(BLANK), layout={**size, "flex": "none"})


def sentence(text: str, wrong: bool = False) -> str:
    """HTML of a line of text."""
    return f'<span style="color:{"#b00020" if wrong else "inherit"}">{html.escape(text)}</span>'


def style(rules: str) -> str:
    """HTML of rules of CSS, which hold for the whole page."""
    return f"<style>{rules}</style>"


def row(*children: ipywidgets.Widget, **layout: str) -> ipywidgets.HBox:
    """Side by side, in a further line where there is no room."""
    return ipywidgets.HBox(children, layout={"flex_flow": "row wrap", "align_items": "flex-start", **layout})


class Thumbnails(ipywidgets.VBox):
    """Pictures to click on: `buttons` are toggles of one choice (`single`) or of several; labels stand below.

    `choose` is called with the number of the picture after a click by hand.
    """

    def __init__(self, choose: Callable[[int], None], side: int = 64, single: bool = False):
        self.choose, self.side, self.single, self.buttons = choose, side, single, []
        self.css, self.box = ipywidgets.HTML(layout={"display": "none"}), row()
        super().__init__([self.css, self.box])

    def show(self, pictures: Sequence[np.ndarray], labels: Sequence[str], on: Sequence[int]) -> None:
        """Other pictures, uint8 [H,W,3] each; those numbered `on` are chosen."""
        name, px = f"ipa-{next(serial)}", f"{self.side}px"
        rules = [background(f"{name}-{i}", png(picture, self.side)) for i, picture in enumerate(pictures)]
        self.css.value = style("".join(rules))
        self.buttons = [ipywidgets.ToggleButton(i in on, tooltip=label, layout={"width": px, "height": px})
                        for i, label in enumerate(labels)]  # fmt: skip
        for i, button in enumerate(self.buttons):
            button.add_class("ipa-pic").add_class(f"{name}-{i}")
            button.observe(self._clicked, "value")
        self.box.children = [labelled(*pair) for pair in zip(self.buttons, labels, strict=True)]

    @property
    def chosen(self) -> tuple[int, ...]:
        """Numbers of the ticked pictures."""
        return tuple(i for i, button in enumerate(self.buttons) if button.value)

    def set(self, on: Sequence[int]) -> None:
        """Choose these, as if by no hand."""
        for i, button in enumerate(self.buttons):
            button.unobserve(self._clicked, "value")
            button.value = i in on
            button.observe(self._clicked, "value")

    def _clicked(self, change) -> None:
        number = self.buttons.index(change["owner"])
        if self.single:
            self.set([number])
        self.choose(number)


def labelled(widget: ipywidgets.Widget, label: str) -> ipywidgets.Widget:
    """A widget with a small label below it."""
    below = [ipywidgets.HTML(f"<small>{html.escape(label)}</small>")] if label else []
    return ipywidgets.VBox([widget, *below], layout={"align_items": "center", "flex": "none", "margin": "0 2px 0 0"})


def background(name: str, picture: bytes) -> str:
    """A rule of CSS that puts a picture on the button of a class."""
    return f'.{name} {{background-image: url("data:image/png;base64,{b64encode(picture).decode()}")}}'


class Panel(ipywidgets.VBox):
    """A part of the page; where nothing shows widgets, such as a file on a web site, its `still` picture stands.

    `first` makes the contents when it is displayed, so that no part waits for another.
    """

    def __init__(self, children: Sequence[ipywidgets.Widget], first: Callable[[], None], still: Callable[[], bytes]):
        self.first, self.still = first, still
        super().__init__([ipywidgets.HTML(style(STYLE), layout={"display": "none"}), *children])

    def _repr_mimebundle_(self, **how) -> dict:
        self.first()
        return {**super()._repr_mimebundle_(**how), "image/png": b64encode(self.still()).decode()}


class Notice(ipywidgets.HTML):
    """A sentence in place of a part of the page, also where nothing shows widgets."""

    def __init__(self, text: str):
        super().__init__(sentence(text, wrong=True))

    def _repr_mimebundle_(self, **how) -> dict:
        return {**super()._repr_mimebundle_(**how), "text/html": self.value}


class Runner:
    """Follows streams one after the other, letting the page be heard between two steps.

    A stream takes the place of an earlier one of its `kind` that is not at its end. `say` is told of mistakes.
    """

    def __init__(self, say: Callable[[str, bool], None]):
        self.say, self.running, self.turn = say, {}, asyncio.Lock()

    def start(self, kind: str, stream: Generator[None, None, None]) -> None:
        """Follow a stream, in the running event loop if there is one, else to its end."""
        self.stop(kind)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.finish(stream)
        self.running[kind] = loop.create_task(self._follow(stream)), stream

    def finish(self, stream: Generator[None, None, None]) -> None:
        """Follow a stream to its end at once, in place of all others."""
        self.stop()
        with self.reporting(stream):
            for _ in stream:
                pass

    def stop(self, kind: str | None = None) -> bool:
        """End the stream of a kind, or all, between two steps; was there one?"""
        kinds = list(self.running) if kind is None else [kind] * (kind in self.running)
        stopped = [self.running.pop(one) for one in kinds]
        for _, stream in stopped:
            stream.close()  # now, and not when its task is heard of next
        return any([task.cancel() for task, _ in stopped])

    async def _follow(self, stream: Generator[None, None, None]) -> None:
        with self.reporting(stream):
            await asyncio.sleep(WAIT)
            async with self.turn:
                for _ in stream:
                    await asyncio.sleep(PAUSE)

    @contextmanager
    def reporting(self, stream: Generator[None, None, None]) -> Iterator[None]:
        """A mistake is said as a sentence; what is none is said, too, and raised. The stream is closed."""
        with closing(stream):
            try:
                yield
            except EXPECTED as error:
                self.say(str(error), True)
            except Exception as error:
                self.say(f"{type(error).__name__}: {error}", True)
                raise


def counted(stream: Generator[int, None, Result], bar: ipywidgets.IntProgress) -> Generator[None, None, Result]:
    """The same stream with a bar that shows the steps; it ends where this one is closed."""
    bar.value, bar.layout.visibility = 0, "visible"
    try:
        while True:
            bar.value = next(stream)
            yield
    except StopIteration as end:
        return end.value
    finally:
        stream.close()
        bar.layout.visibility = "hidden"
