"""What a machine can proof-read of the preprint: the reviewer's remarks, spelling, typography, references."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ipa_lib.report import grids, latex, plots
from ipa_lib.report import words as names

pytestmark = pytest.mark.thorough
PAPER = Path(__file__).parents[1] / "paper"
TEXT = re.sub(r"(?<!\\)%.*", "", (PAPER / "main.tex").read_text(encoding="utf-8"))
BODY = TEXT.split(r"\maketitle")[1]
PROSE = BODY.split(r"\bibliographystyle")[0] + BODY.split(r"\appendix")[1]
WORDS = PAPER / "words.txt"  # right words that the dictionaries lack
FLOATS = r"\\begin\{(figure|table)\}.*?\\end\{\1\}"
DRAWING = r"\\begin\{tikzpicture\}.*?\\end\{tikzpicture\}"
DISPLAYS = r"\\begin\{equation\}.*?\\end\{equation\}|\\\[.*?\\\]"


# ---- the text as it is printed -----------------------------------------------------------------------------


def group(text):
    """(inside, after) of text that begins with {…}, braces of any depth in it."""
    depth = 0
    for match in re.finditer(r"(?<!\\)[{}]", text):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return text[1:match.start()], text[match.end():]
    raise AssertionError(f"no closing brace: {text[:60]}")


def chosen(text, known):
    """The text with every \\ifresult{key}{known}{unknown} replaced by the one or the other."""
    before, found, after = text.partition(r"\ifresult")
    if not found:
        return text
    _, after = group(after)
    (yes, after), = [group(after)]
    no, after = group(after)
    return before + chosen(yes if known else no, known) + chosen(after, known)


def paragraphs(text):
    """Paragraphs without floats, headings and commands; a displayed formula is a word, a number of the results too."""
    text = re.sub(FLOATS, "", text, flags=re.S)
    text = re.sub(DISPLAYS, lambda m: " FORMULA" + (punctuation(m[0]) or ""), text, flags=re.S)
    text = re.sub(r"\\(sub)?section\{[^}]*\}(\\label\{[^}]*\})?|\\(begin|end)\{[*\w]+\}(\{\w+\})?|\\appendix"
                  r"|\\maketitle|\\keywords\{.*?\n\n|\\bibliography\w*\{[^}]*\}", "\n\n", text, flags=re.S)  # fmt: skip
    text = re.sub(r"\\paragraph\{[^}]*\}", "", text)
    return [p.strip() for p in re.split(r"\n\s*\n", text) if p.strip()]


def punctuation(display):
    inner = re.sub(r"\\(begin|end)\{\w+\}(\\label\{[^}]*\})?|\\\]", "", display).strip()
    return inner[-1] if inner[-1] in ".,;" else ""


def words(text):
    """The words of a text without commands, keys, formulas and names of files."""
    text = re.sub(DRAWING + "|" + DISPLAYS + r"|\$[^$]*\$", " ", text, flags=re.S)
    text = re.sub(r"\\begin\{tabular\}.*|\[(?:tbp|!ht)\]|\\cmidrule\(\w+\)", " ", text)
    command = (r"\\(cite|ref|eqref|label|result|valued|englishvalued|file|notebook|figurefile|loadtable|texttt"
               r"|bibliography\w*|begin|end|setlength|captionsetup)\*?(\[[^]]*\])?")
    text = re.sub(command + r"\{[^{}]*\}(\{[^{}]*\})?", " ", text)
    text = re.sub(r"\\[a-zA-Z]+\*?|\\.", " ", text)
    return re.findall(r"[^\W\d_]+(?:[-’'][^\W\d_]+)*", text)


BOTH = pytest.mark.parametrize("known", [True, False], ids=["answered", "not answered"])


# ---- the reviewer's remarks --------------------------------------------------------------------------------


@BOTH
def test_no_paragraph_is_a_single_sentence(known):
    found = paragraphs(chosen(PROSE, known))
    short = [p for p in found if len(re.findall(r"[.!?](?=[\s}]|$)", p)) < 2]
    assert short == [] and len(found) > 40


def test_keywords_carry_no_citations():
    keywords = TEXT.split(r"\keywords{")[1].split("\n\n")[0]
    assert r"\cite" not in keywords and re.search(r"\d", keywords) is None


def test_the_abstract_opens_with_the_setting_and_has_no_problems():
    abstract = BODY.split(r"\begin{abstract}")[1].split(r"\end{abstract}")[0].strip()
    assert abstract.startswith("Рассматривается генерация изображений заданного человека")


def test_the_works_that_the_remarks_ask_for_are_cited_in_the_introduction():
    introduction = BODY.split(r"\section{Введение}")[1].split(r"\section{")[0]
    asked = ("rombach2022ldm", "zhang2023controlnet", "chefer2023attend", "ye2023ipadapter")
    related = ("ho2021cfg", "xiao2025fastcomposer", "li2024photomaker", "wang2024instantid", "zong2025easyref")
    assert all(key in introduction for key in (*asked, *related))


@pytest.mark.parametrize("word", "метрик оригинальн проблем датасет картин моя мои моей моего".split())
def test_words_that_the_remarks_replace_are_gone(word):
    assert not re.search(rf"\b{word}", PROSE, re.I)


def test_nobody_speaks_in_the_first_person_singular():
    assert not re.search(r"\b(я|меня|мне|мной|мною|I|my|me)\b", " ".join(words(PROSE)), re.I)


def test_the_criteria_are_introduced_by_a_sentence():
    section = BODY.split(r"\subsection{Критерии качества}")[1].split("\n\n")[1]
    assert section.startswith("Ниже представлены критерии качества")


def test_equations_one_to_eight_carry_labels():
    labels = ["simple", "guidance", "attention", "adapter", "guidance-images", "decoupled", "fid", "is"]
    assert re.findall(r"\\begin\{equation\}\\label\{eq:([\w-]+)\}", BODY) == labels


def test_a_displayed_formula_ends_with_its_punctuation():
    displays = [match[0] for match in re.finditer(DISPLAYS, BODY, re.S)]
    assert len(displays) > 8 and [display for display in displays if not punctuation(display)] == []


def test_all_fourteen_remarks_are_answered():
    text = (PAPER / "remarks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|([^|]+)\|([^|]+)\|([^|]+)\|$", text, re.M)
    assert [int(number) for number, *_ in rows] == list(range(1, 15))
    for section in re.findall(r"раздел «([^»]+)»", " ".join(where for *_, where in rows)):
        assert rf"section{{{section}}}" in TEXT


# ---- typography --------------------------------------------------------------------------------------------


def test_a_dash_is_a_dash_and_never_begins_a_line():
    prose = re.sub(DRAWING, "", PROSE, flags=re.S)
    assert not re.search(r"\s--?\s|—|\s---", prose) and PROSE.count("~--- ") + PROSE.count("~---\n") > 20


def test_quotes_are_typographic():
    russian = re.sub(r"\\begin\{englishabstract\}.*?\\end\{englishabstract\}", "", PROSE, flags=re.S)
    assert not re.search(r'"|``|\'\'|<<|>>|“|”', re.sub(r"\$[^$]*\$|" + DISPLAYS, "", russian, flags=re.S))
    assert PROSE.count("«") == PROSE.count("»") > 0


def test_what_belongs_together_stays_on_one_line():
    loose = r"(?i:рис\.|табл\.|раздела|приложени.|формула)\s+\\(?:eq)?ref|\s\\cite|[\d}] \\%|\b[вкосуиВКОСУИ] \$"
    assert re.findall(loose + r"|\b[вВкКсС] ?\n?\\eqref", PROSE) == []


def test_no_word_stands_twice():
    for paragraph in paragraphs(chosen(PROSE, True)):
        plain = re.sub(r"\\\w+(\{[^{}]*\})*|\$[^$]*\$|[~{}]", " | ", paragraph)
        assert not re.search(r"\b(\w+)\s+\1\b", plain, re.I), plain


def test_spaces_and_stops_are_single():
    prose = re.sub(FLOATS + "|" + DISPLAYS, "", PROSE, flags=re.S)
    assert not re.search(r"\w ,|\w \.(?!\w)|\.\.(?!\.)|,,|(?<=\S) {2,}\S", prose)


# ---- references --------------------------------------------------------------------------------------------


def test_every_figure_table_section_and_numbered_formula_is_referred_to():
    labels = set(re.findall(r"\\label\{([^}]+)\}", TEXT))
    listing = r"\\begin\{table\}\[!ht\]\n[^\n]*\n\s*\\caption\{Чем получены.*?\\end\{table\}"
    outside = re.sub(listing, "", TEXT, flags=re.S)
    referred = set(re.findall(r"\\(?:eq)?ref\{([^}]+)\}", outside))
    unnumbered = {"sec:real", "sec:merges", "sec:times", "eq:guidance", "eq:fid"}  # found by their headings and names
    assert labels - referred <= unnumbered and referred <= labels


def test_every_citation_is_in_the_list_and_every_entry_is_cited():
    cited = {key.strip() for keys in re.findall(r"\\cite\{([^}]+)\}", TEXT) for key in keys.split(",")}
    assert cited == set(re.findall(r"^@\w+\{(\w+),", (PAPER / "refs.bib").read_text(encoding="utf-8"), re.M))


def test_an_entry_has_authors_title_venue_and_year_and_no_bare_link():
    text = (PAPER / "refs.bib").read_text(encoding="utf-8")
    for entry in re.split(r"^@", text, flags=re.M)[1:]:
        fields = set(re.findall(r"^\s+(\w+)\s+=", entry, re.M))
        assert {"author", "title", "year"} <= fields and fields & {"booktitle", "journal"}, entry
        assert re.search(r"year\s+= \{(19|20)\d\d\}", entry) and "http" not in entry and " others" not in entry
    keys = re.findall(r"^@\w+\{(\w+),", text, re.M)
    assert len(keys) == len(set(keys))


def test_every_entry_was_checked():
    entries = re.findall(r"^@\w+\{(\w+),", (PAPER / "refs.bib").read_text(encoding="utf-8"), re.M)
    checks = (PAPER / "references.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", checks, re.M) == entries


# ---- spelling ----------------------------------------------------------------------------------------------


def dictionaries():
    if not shutil.which("hunspell"):
        return "hunspell is not installed: scripts/install_tex.sh spelling"
    found = subprocess.run(["hunspell", "-D"], input="", capture_output=True, text=True).stderr
    return "" if {"ru_RU", "en_US"} <= {Path(line).name for line in found.splitlines()} else "dictionaries are missing"


MISSING = dictionaries()


def misspelt(found, language):
    """Those of the words that neither the dictionary nor words.txt has; ё may be written е in the dictionary."""
    command = ["hunspell", "-i", "utf-8", "-d", language, "-l"]
    said = subprocess.run(command, input="\n".join(sorted(found)), capture_output=True, text=True, check=True)
    known = {line for line in WORDS.read_text(encoding="utf-8").split("\n") if line}
    return {word for word in said.stdout.split() if word not in known and word.lower() not in known}


def split(text):
    """(Russian, English) words, of optional parts too."""
    found = {*words(chosen(text, True)), *words(chosen(text, False))}
    return {w for w in found if re.search("[а-яё]", w, re.I)}, {w for w in found if not re.search("[а-яё]", w, re.I)}


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_text_is_spelt_right():
    russian, english = split(TEXT.split(r"\begin{document}")[1])
    assert misspelt(russian, "ru_RU") == set() and misspelt(english, "en_US") == set()
    assert len(russian) > 900 and len(english) > 100


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("module", [latex, plots, grids, names], ids=lambda module: module.__name__)
def test_labels_of_figures_and_tables_are_spelt_right(module):
    text = Path(module.__file__).read_text(encoding="utf-8")
    russian = set(re.findall(r"\b[А-Яа-яё]{2,}(?:-[А-Яа-яё]+)*\b", text))
    assert russian and misspelt(russian, "ru_RU") == set()


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_answers_to_the_remarks_are_spelt_right():
    russian, _ = split((PAPER / "remarks.md").read_text(encoding="utf-8"))
    assert misspelt(russian, "ru_RU") == set()


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_wrong_word_is_found():
    assert misspelt({"изображнеие", "изображение"}, "ru_RU") == {"изображнеие"}
    assert misspelt({"recieve", "receive"}, "en_US") == {"recieve"}


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_word_list_has_no_idle_word():
    russian, english = split(TEXT + (PAPER / "remarks.md").read_text(encoding="utf-8"))
    modules = "".join(Path(part.__file__).read_text(encoding="utf-8") for part in (latex, plots, grids, names))
    used = {word.lower() for word in russian | english} | {word.lower() for word in re.findall(r"[А-Яа-яё-]+", modules)}
    assert [word for word in WORDS.read_text(encoding="utf-8").split() if word.lower() not in used] == []
