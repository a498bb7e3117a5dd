"""Error pages are escaped and bounded, and only clients that ask for HTML get HTML."""

import json
import re
import sys

import pytest

from geventuwsgi.app import debug_pages


def failing(depth=0):
    if depth:
        failing(depth - 1)
    raise ValueError("<script>alert(1)</script> \udc80")


def raised(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("accept, html", [
    ("text/html,application/xhtml+xml,*/*;q=0.8", True), ("TEXT/HTML", True),
    ("application/json, text/html;q=0.1", True), ("*/*", False), ("", False),
    ("text/html;q=0", False), ("text/html; q=0.0, */*", False), ("text/htmlx", False)])
def test_accept(accept, html):
    assert debug_pages.wants_html(accept) is html


def test_a_page():
    page = debug_pages.of_request(raised(failing), "text/html", "GET /<i>\udcff")
    text = page.content.decode()
    assert page.kind == "text/html; charset=utf-8"
    assert "&lt;script&gt;" in text and "<script" not in text and "<i>" not in text
    # The failing line is marked, between those around it.
    assert text.count("<b>") == 2 and "    raise ValueError(&quot;&lt;script" in text
    assert "        failing(depth - 1)\n" in text and __file__ in text
    plain = debug_pages.of_request(raised(failing), "*/*", "GET /")
    assert plain.kind.startswith("text/plain")
    assert plain.content.startswith(b"500: GET /\n\nTraceback (most recent call last):\n")


def test_causes_come_first_and_a_circle_ends():
    first, second = raised(failing), KeyError("second")
    second.__cause__ = first
    first.__context__ = second
    text = debug_pages.of_request(second, "text/html", "x").content.decode()
    assert text.index("ValueError") < text.index("KeyError") and text.count("<h2>") == 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_a_group_is_shown_whole():
    group = raised(exec, "raise ExceptionGroup('both', [ValueError('one'), KeyError('two')])")
    text = debug_pages.of_request(group, "text/html", "x").content.decode()
    assert text.index("ValueError: one") < text.index("KeyError") < text.index("both")


def test_many_causes_are_cut():
    last = None
    for number in range(100):
        one = KeyError(number)
        one.__cause__ = last
        last = one
    text = debug_pages.of_request(last, "text/html", "x").content.decode()
    assert text.count("<h2>") == debug_pages.MOST_EXCEPTIONS and "KeyError: 99" in text


def test_a_deep_recursion_is_cut():
    text = debug_pages.of_request(raised(failing, 500), "text/html", "x").content.decode()
    assert text.count('class="where"') == debug_pages.MOST_FRAMES
    assert "442 outer calls are left out." in text


def called(*files):
    """Return a chain of functions, each in one of these files and calling the next."""
    call = failing
    for path in reversed(files):
        names = {"call": call}
        exec(compile("def run():\n    call()", path, "exec"), names)
        call = names["run"]
    return call


def test_calls_of_libraries_are_folded():
    packages = "/venv/lib/python3/site-packages/"
    error = raised(called(packages + "flask/app.py", packages + "flask/ctx.py", json.__file__,
                          "/srv/shop/views.py", packages + "six.py"))
    text = debug_pages.of_request(error, "text/html", "x").content.decode()
    outer, inner = re.findall(r"(?s)<details>.*?</details>", text)
    assert "<summary>3 calls in flask, Python</summary>" in outer and outer.count("where") == 3
    assert "<summary>1 call in six</summary>" in inner and packages + "six.py, line 2" in inner
    open_ones = re.sub(r"(?s)<details>.*?</details>", "", text)
    assert "/srv/shop/views.py, line 2" in open_ones and __file__ in open_ones
    assert text.index("flask/app.py") < text.index("views.py") < text.index("six.py")


def test_calls_of_libraries_alone_are_open():
    error = raised(json.loads, "{")
    error.__traceback__ = error.__traceback__.tb_next   # not this test's frame
    text = debug_pages.of_request(error, "text/html", "x").content.decode()
    assert "<details open>" in text and "<details>" not in text and "json" in text


def test_without_source_there_are_frames_all_the_same():
    error = raised(eval, compile("1 / 0", "<nowhere>", "eval"))
    page = debug_pages.of_request(error, "text/html", "x")
    assert "&lt;nowhere&gt;, line 1" in page.content.decode()


def test_an_application_that_does_not_load():
    page = debug_pages.of_loading("app: <b>", "line <i>", "text/html").content
    assert b"app: &lt;b&gt;" in page and b"line &lt;i&gt;" in page
    assert debug_pages.of_loading("a", "", "").content == b"The application does not load\n\na\n"
