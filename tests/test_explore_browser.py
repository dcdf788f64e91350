"""notebooks/explore.ipynb in JupyterLab in a real browser, as `make lab` starts it, on results of a few drawn people.

    IPA_SCREENSHOTS=/tmp/shots pytest tests/test_explore_browser.py    # leaves pictures of every part to look at
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from ipa_lib.files import ROOT

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: scripts/install_tex.sh browser")

FLAGS = ["--no-browser", "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=0"]
QUIET = {"fetchNews": "false", "checkForUpdates": False}  # no window before the page
RUN_ALL = """async () => {
    const notebook = window.jupyterapp.shell.currentWidget;
    await notebook.context.ready; await notebook.sessionContext.ready;
    await window.jupyterapp.commands.execute('application:toggle-left-area');
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
DROP = """field => {
    const files = new DataTransfer();
    files.items.add(new File(['nonsense'], 'dropped.jpg'));
    field.dispatchEvent(new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true}));
}"""
SECONDS = 1000  # milliseconds
PARTS = ("generate", "strips", "attention", "photographs", "results")


@pytest.fixture(scope="module")
def folder(small_results, tmp_path_factory):
    """A place with the notebook in it, whose profile is the small results."""
    place = tmp_path_factory.mktemp("lab")
    source = (ROOT / "notebooks/explore.ipynb").read_text()
    changed = source.replace('profile: str = \\"mini\\"', f'profile: str = \\"{small_results}\\"')
    assert changed != source
    (place / "notebooks").mkdir()
    (place / "notebooks/explore.ipynb").write_text(changed)
    settings = place / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    return place


@pytest.fixture(scope="module")
def lab(folder):
    """(address, token) of a server that the recipe of `make lab` has started in that place."""
    recipe = re.search(r"^\t@(jupyter lab .*?) \$\(if", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex(16)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "JUPYTER_PORT": str(port),
        "JUPYTER_TOKEN": token, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [*recipe.split(), *FLAGS, *["--allow-root"] * (os.geteuid() == 0)]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", folder / "lab.log")
        yield f"http://127.0.0.1:{port}", token
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait_for(address, log, seconds=300):
    for _ in range(2 * seconds):
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
    pytest.fail(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def page(lab):
    """The notebook in Chromium, all cells run."""
    address, token = lab
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(300 * SECONDS)  # a busy machine is no failure
        page.goto(f"{address}/lab/tree/notebooks/explore.ipynb?token={token}&reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
        page.evaluate(RUN_ALL)
        page.locator(".ipa-rows").wait_for()
        yield page
        browser.close()


def part(page, name):
    """The cell of a part of the page, in view."""
    cell = page.locator(".jp-CodeCell", has_text=f"parts.{name}").first
    cell.scroll_into_view_if_needed()
    return cell


def pictures(cell):
    return cell.locator("img").evaluate_all("images => images.map(image => image.src)")


def content(page, cell):
    """The bytes of all pictures of a cell, whose addresses are new with every value."""
    return [page.evaluate("async at => (await (await fetch(at)).text())", at) for at in pictures(cell)]


def look(page, name):
    """A picture of a part, for those who look: IPA_SCREENSHOTS."""
    if folder := os.environ.get("IPA_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        part(page, name.split("-")[0]).screenshot(path=f"{folder}/{name}.png")


def test_without_the_token_the_server_answers_403(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{lab[0]}/api/contents")


def test_the_server_is_for_this_machine_alone(lab, folder):
    assert "http://127.0.0.1:" in (folder / "lab.log").read_text()
    address = lab[0].replace("127.0.0.1", socket.gethostbyname(socket.gethostname()))
    if address != lab[0]:
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address, timeout=5)


def test_all_cells_run_without_an_error(page):
    for name in PARTS:
        assert part(page, name).locator(".widget-vbox").count()
        look(page, name)
    assert not page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']").count()


def test_lam_from_0_to_1_gives_another_picture_and_another_score(page):
    cell, seen = part(page, "generate"), {}
    handle = cell.locator(".noUi-handle").first
    for lam, keys in ((0, ["Home"]), (1, ["ArrowRight"] * 20)):
        handle.focus()
        for key in keys:
            page.keyboard.press(key)
        cell.get_by_text(f"λ = {lam}: mean identity").wait_for()
        page.wait_for_timeout(SECONDS)
        seen[lam] = content(page, cell), cell.get_by_text("mean identity").first.inner_text()
        look(page, f"generate-lam{lam}")
    pairs = list(zip(seen[0][0], seen[1][0], strict=True))
    assert sum(a != b for a, b in pairs) == 4 and sum(a == b for a, b in pairs) >= 1  # the held-out picture stays
    low, high = (float(seen[lam][1].split()[-1]) for lam in (0, 1))
    assert high > low + 0.1


def test_a_long_drawing_is_stopped(page):
    cell = part(page, "generate")
    steps = cell.locator("input[type=number]").nth(1)
    steps.fill("200")
    steps.press("Enter")
    cell.locator(".progress-bar").first.wait_for()
    page.wait_for_timeout(SECONDS)
    cell.get_by_role("button", name="stop").click()
    cell.get_by_text("stopped").wait_for()
    steps.fill("20")
    steps.press("Enter")
    cell.get_by_text("mean identity").wait_for()


def test_prompts_are_ticked_and_pictures_kept(page):
    cell = part(page, "generate")
    cell.locator("button.ipa-pic.mod-active").last.click()
    cell.get_by_text("N = 3, λ = 1: mean identity").wait_for()
    for number in (0, 2):
        cell.get_by_role("button", name="keep").nth(number).click()
    cell.get_by_role("button", name="save as a figure").wait_for()
    look(page, "generate-kept")


def test_the_n_strip_is_drawn(page):
    cell = part(page, "strips")
    before = content(page, cell)
    cell.get_by_role("button", name="draw the N strip").click()
    page.wait_for_timeout(SECONDS)
    deadline = time.time() + 300
    while (after := content(page, cell)) == before and time.time() < deadline:
        page.wait_for_timeout(SECONDS / 2)
    assert after[0] == before[0] and after[1] != before[1]  # over three prompts, no longer four
    look(page, "strips-n")


def test_the_table_is_filtered_and_a_point_leads_to_its_samples(page):
    cell = part(page, "results")
    rows = cell.locator(".ipa-rows option")
    assert rows.count() == cell.locator(".ipa-dot").count() == 4
    cell.get_by_label("λ", exact=True).select_option("1")
    page.wait_for_function("document.querySelectorAll('.ipa-rows option').length == 2")
    cell.locator(".ipa-dot").nth(1).click()
    cell.get_by_text("executed notebook").wait_for()
    assert "samples/mean-own-n4r-s0/n4" in cell.inner_text()
    page.wait_for_timeout(SECONDS)
    look(page, "results-point")


def test_a_good_and_a_bad_file(page, tmp_path):
    Image.effect_noise((90, 70), 60).convert("RGB").save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no picture")
    cell = part(page, "photographs")
    with page.expect_file_chooser() as chooser:
        cell.get_by_role("button", name="choose files").click()
    chooser.value.set_files([tmp_path / "good.png", tmp_path / "bad.jpg"])
    cell.get_by_text("bad.jpg: not a readable picture").wait_for()
    cell.get_by_text("ticked above: 1").wait_for()
    look(page, "photographs-taken")
    cell.locator(".ipa-drop").evaluate(DROP)
    cell.get_by_text("dropped.jpg: not a readable picture").wait_for()
    assert "Traceback" not in page.locator(".jp-NotebookPanel").inner_text()
    part(page, "generate").get_by_text("N = 1, λ = 1: mean identity").wait_for()
    look(page, "generate-own")
