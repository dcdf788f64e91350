"""What figures, tables and sentences call things, in Russian, the paper's language, and in English."""

from __future__ import annotations

LANGUAGES = ("ru", "en")
RUSSIAN = {
    # rows of the table that are not an adapter's
    "real": "реальные изображения",
    "reconstruction": "автокодировщик",
    "other": "подсказки другого человека",
    "text_alone": "только текст",
    # merges
    "mean": "среднее",
    "concat": "конкатенация",
    "weighted": "веса по номеру",
    "gated": "веса по содержанию",
    "sum": "сумма",
    "average": "среднее вниманий",
    "pool": "множественный кодировщик",
    # what a label says of an adapter besides its merge
    "slots=shared": "общие матрицы",
    "slots=marked": "общие матрицы и вектор слота",
    "order=norm": "по убыванию нормы",
    "target=shown": "цель среди подсказок",
    "views=roles": "слоты с ролями",
    "start_adapter": "начальный адаптер",
    "main_adapter": "основной",
    "trained_for": "обучен на",
    "one_for_each": "своя модель для каждого $N$",
    # matrices and orders, in a table
    "own": "свои",
    "shared": "общие",
    "given": "случайный",
    "norm": "по норме",
    # networks behind the scores, as their files name them
    "mini identity judge": "судья личности",
    "mini attribute judge": "судья признаков",
    "attribute judge": "судья признаков",
    # measures and axes
    "identity": "сходство\nличности",
    "copying": "сходство с ближайшей подсказкой",
    "held_out": "сходство с отложенными изображениями",
    "text": "соответствие\nтексту, %",
    "lam": r"вес изображений $\lambda$",
    "n_refs": "число подсказок $N$",
    "w": "коэффициент усиления $w$",
    "images": "изображений",
    "image_count": "число изображений",
    "subset": "случайная часть изображений",
    "whole": "все изображения",
    "occluded": "закрыто {} % подсказок",
    "of_main": "основной адаптер",
    "of_merges": "агрегирующие функции при $N = {}$",
    "target": "цель при обучении",
    "cosine": "косинус",
    "left_out": "отложена",
    "shown": "среди подсказок",
    "step": "шаг обучения",
    "loss": "функция\nпотерь (4)",
    "loss_train": "обучающие люди, среднее по {} шагам",
    "loss_val": "проверочные люди",
    "run": "основной адаптер, запуск {}",
    "other_adapters": "другие адаптеры",
    "prompts": "подсказки",
    "truth": "цель $x_0$",
    "sample": "результат",
    "not_measured": "в этой сетке не измерялось",
    # verdicts: «… при N = 4 {verdict} при N = 1» is a sentence with each
    "higher": "выше, чем",
    "lower": "ниже, чем",
    "same": "не отличается значимо от значения",
}
ENGLISH = {
    "real": "real pictures",
    "reconstruction": "autoencoder",
    "other": "another person's prompts",
    "text_alone": "text alone",
    "mean": "mean",
    "concat": "concatenation",
    "weighted": "weights by slot",
    "gated": "weights by content",
    "sum": "sum",
    "average": "mean of attentions",
    "pool": "set encoder",
    "slots=shared": "shared matrices",
    "slots=marked": "shared matrices and a vector a slot",
    "order=norm": "sorted by norm",
    "target=shown": "target among the prompts",
    "views=roles": "slots with roles",
    "start_adapter": "starting adapter",
    "main_adapter": "main",
    "trained_for": "trained for",
    "one_for_each": "one model for each $N$",
    "own": "own",
    "shared": "shared",
    "given": "random",
    "norm": "by norm",
    "mini identity judge": "identity judge",
    "mini attribute judge": "attribute judge",
    "attribute judge": "attribute judge",
    "identity": "identity\nsimilarity",
    "copying": "similarity to the nearest prompt",
    "held_out": "similarity to held-out pictures",
    "text": "agreement with\nthe text, %",
    "lam": r"image weight $\lambda$",
    "n_refs": "number of prompts $N$",
    "w": "guidance weight $w$",
    "images": "pictures",
    "image_count": "number of pictures",
    "subset": "random part of the pictures",
    "whole": "all pictures",
    "occluded": "{} % of prompts occluded",
    "of_main": "main adapter",
    "of_merges": "merges at $N = {}$",
    "target": "target in training",
    "cosine": "cosine",
    "left_out": "left out",
    "shown": "among the prompts",
    "step": "training step",
    "loss": "loss (4)",
    "loss_train": "training people, mean over {} steps",
    "loss_val": "validation people",
    "run": "main adapter, run {}",
    "other_adapters": "other adapters",
    "prompts": "prompts",
    "truth": "target $x_0$",
    "sample": "sample",
    "not_measured": "not measured in this grid",
    "higher": "higher than",
    "lower": "lower than",
    "same": "not significantly different from",
}
SAME_EVERYWHERE = {
    "fid": "FID",
    "kid": "KID",
    "is": "IS",
    "clip_t": "CLIP-T, $10^{-2}$",
    "mobilenet_v2.py:ImageNetFeatures": "MobileNetV2",
    "MobileFaceNet": "MobileFaceNet",
}


def words(language: str) -> dict[str, str]:
    """Name of a thing -> what it is called. ValueError for another language than those of `LANGUAGES`."""
    if language not in LANGUAGES:
        raise ValueError(f"language: one of {', '.join(LANGUAGES)} was expected, got {language!r}")
    return SAME_EVERYWHERE | (RUSSIAN if language == "ru" else ENGLISH)


def number(value: float, language: str = "ru", spec: str = ".6g") -> str:
    """A number in a figure: with a real minus, and in Russian a decimal comma: -0.25 -> −0,25."""
    text = f"{value:{spec}}".replace("-", "−")
    return text.replace(".", ",") if language == "ru" else text
