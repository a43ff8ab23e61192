"""The page as one starts it, asked over HTTP and in a browser, and how it refuses and ends."""

import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medclf.demo import main

HUGE = b"\x89PNG" + bytes(600_000)
"""More than the server of these tests takes."""


@dataclass(frozen=True)
class Server:
    """One that runs, and the port that it is on."""

    port: int

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, content=None, **headers):
        """Status, headers and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=200)
        connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text


@pytest.fixture(scope="module")
def server(finished, tmp_path_factory):
    """A real one; it is ended by Ctrl-C, as a person does it."""
    cwd = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "medclf.demo", f"run={finished[0]}", "port=0", "max_mb=0.5", "accelerator=cpu"]
    # what is no tty is buffered, and the address must be seen nevertheless
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), process.communicate()
    assert "Ctrl-C" in line
    yield Server(int(line.split()[0].rpartition(":")[2]))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out, err) == (130, "", "\ninterrupted\n")
    assert list(cwd.iterdir()) == []  # nothing is kept


@pytest.fixture(scope="module")
def picture():
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def dicom():
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    image.Rows = image.Columns = 16
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelData = 7, bytes(range(256))
    stream = io.BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_the_page_asks_no_other_machine(server):
    status, headers, html = server.ask("GET", "/")
    assert status == 200
    assert "No medical device." in html and "phantom, cnn" in html and "AUROC" in html
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy
    files = [server.ask("GET", f"/{name}") for name in ("page.css", "page.js")]
    assert [status for status, _, _ in files] == [200, 200]
    for text in (html, *(text for _, _, text in files)):
        assert "//" not in text.replace("// ", "")  # no address of anything elsewhere
    assert headers["Access-Control-Allow-Origin"] is None


def test_images(server, picture):
    for content in (picture, dicom()):
        status, _, html = server.ask("POST", "/answer", content)
        assert status == 200, html
        assert "Decision:" in html and "Calibrated probabilities" in html and "what spoke for" in html


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<b>no image</b>", "not a file of a kind that is taken"),
        (b"file:///etc/passwd", "not a file of a kind that is taken"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read"),
    ],
)
def test_broken_files(server, content, reason):
    status, _, html = server.ask("POST", "/answer", content)
    assert status == 422
    assert "No answer." in html and reason in html


def test_huge_files_whether_or_not_their_size_is_said(server):
    chunks = iter([HUGE[:400_000], HUGE[400_000:]])
    for content in (HUGE, chunks):
        status, _, html = server.ask("POST", "/answer", content)
        assert status == 413
        assert "larger than the 0.5 MB" in html


def test_other_sites(server, picture):
    host = f"127.0.0.1:{server.port}"
    assert server.ask("POST", "/answer", picture, Origin=f"http://{host}")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert server.ask("POST", "/answer", picture, Origin=origin)[0] == 403
    # a name that is made to lead to this machine
    assert server.ask("GET", "/", Host="evil.example")[0] == 400
    preflight = server.ask("OPTIONS", "/answer", Origin="http://evil.example", Access_Control_Request_Method="POST")
    assert preflight[0] == 405 and preflight[1]["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    "path",
    [
        "/file=/etc/passwd",
        "/../../etc/passwd",
        "/page/../app.py",
        "/page.html.j2",
        "/docs",
        "/openapi.json",
        "//etc/passwd",
    ],
)
def test_no_other_file(server, path):
    assert server.ask("GET", path)[0] == 404
    assert server.ask("GET", "/answer?url=http://127.0.0.1/")[0] == 405


def test_port_in_use(server, finished, command):
    answer = command(main, f"run={finished[0]}", f"port={server.port}")
    assert answer.code == 2
    told, _, free = answer.err.rpartition("port=")
    assert told == f"error: port={server.port}: is in use; "
    assert 0 < int(free.split()[0]) != server.port


def test_a_mistake_waits_for_no_torch(server, finished):
    code = (
        "import sys; from medclf.demo import main\ntry:\n  main()\nexcept SystemExit as end:\n"
        "  assert end.code == 2; assert 'torch' not in sys.modules"
    )
    words = [f"run={finished[0]}", f"port={server.port}"]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, timeout=200)


def test_without_the_extra(finished, command, monkeypatch):
    monkeypatch.setattr("medclf.demo.find_spec", lambda name: None)
    answer = command(main, f"run={finished[0]}")
    assert answer.code == 2
    assert answer.err == 'error: the page needs starlette and uvicorn: python -m pip install "medclf[demo]"\n'


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=nothing"], "run=nothing: there is no such folder"),
        (["port=80"], "name one model"),
        (["run=.", "port=99999"], "port=99999: must be at most 65535"),
        (["run=.", "max_mb=0"], "max_mb=0: must be above 0"),
        (["run=.", "share=true"], "share: there is no such key"),
    ],
)
def test_mistakes(command, words, message):
    answer = command(main, *words)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {message}")


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium; it notes its requests."""
    webdriver = pytest.importorskip("selenium.webdriver")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with its chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    switches = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for switch in [
        *switches.split(),
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path / 'profile'}",
    ]:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def result_of(browser):
    """What the page shows, once it has answered."""
    from selenium.webdriver.support.ui import WebDriverWait

    found = WebDriverWait(browser, 60).until(
        lambda page: page.find_elements("css selector", "#result h2, #result .alarm")
    )
    text = browser.find_element("id", "result").text
    browser.execute_script("document.getElementById('result').replaceChildren()")
    assert found
    return text


def requested(browser, page):
    """The addresses that the page asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {ask["request"]["url"] for ask in asked if ask["documentURL"].startswith(page)}


DROP = """
const carried = new DataTransfer();
for (const name of arguments[0]) carried.items.add(new File(["no image"], name));
document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: carried}));
"""


def test_in_a_browser(server, browser, picture, tmp_path):
    browser.get(server.address)
    field = browser.find_element("id", "file")
    files = {"<b>x</b>.png": picture, "broken.png": picture[:60], "huge.png": HUGE}
    shown = {}
    for name, content in files.items():
        path = tmp_path / name.replace("/", "\u2215")
        path.write_bytes(content)
        field.send_keys(os.fspath(path))
        shown[name] = result_of(browser)
    assert shown["<b>x</b>.png"].startswith("<b>x<\u2215b>.png\n")
    assert "Decision: organ_" in shown["<b>x</b>.png"] and "Answered in" in shown["<b>x</b>.png"]
    assert "The file cannot be read" in shown["broken.png"]
    assert shown["huge.png"] == "No answer. huge.png has 0.6 MB; up to 0.5 MB are taken."
    browser.execute_script(DROP, ["dropped.txt"])
    assert "not a file of a kind that is taken" in result_of(browser)
    browser.execute_script(DROP, ["a.png", "b.png"])
    assert result_of(browser) == "One image at a time, please."
    browser.execute_script(DROP, [])
    assert result_of(browser).startswith("That is no file")
    assert "No medical device." in browser.find_element("css selector", ".warning").text
    addresses = {address for address in requested(browser, server.address) if not address.startswith("data:")}
    assert addresses == {f"{server.address}/{name}" for name in ("", "page.css", "page.js", "answer")}
