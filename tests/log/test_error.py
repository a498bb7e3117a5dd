"""The error log looks like gunicorn's, and text from outside cannot forge a record."""

import logging
import os
import re

import pytest

from geventuwsgi import log
from geventuwsgi.log.error import ErrorHandler

SHAPE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[(\d+)\] \[([A-Z]+)\] (.*)",
                   re.DOTALL)
logger = logging.getLogger("geventuwsgi.error")


@pytest.fixture(autouse=True)
def afterwards():
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        if isinstance(handler, ErrorHandler):
            handler.sink.close()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_shape_and_level(capfd):
    log.setup("warning")
    logger.info("not this")
    logger.warning("Listening at: %s", "http://127.0.0.1:8000")
    out, error = capfd.readouterr()
    pid, level, text = SHAPE.fullmatch(error).groups()
    assert (out, int(pid), level) == ("", os.getpid(), "WARNING")
    assert text == "Listening at: http://127.0.0.1:8000\n"


def test_log_date(capfd):
    log.setup(date="%Y|%%")
    logger.error("one\ntwo")
    assert re.fullmatch(r"\d{4}\|% - \[\d+\] \[ERROR\] one\ntwo\n", capfd.readouterr().err)


def test_setup_twice_writes_once(capfd):
    log.setup()
    log.setup("DEBUG")
    logger.debug("once")
    assert capfd.readouterr().err.count("once") == 1


def test_an_unknown_level():
    with pytest.raises(ValueError, match="no log level 'loud'"):
        log.setup("loud")


@pytest.mark.parametrize("text, written", [
    ("a\x1b[31mb", "a\\x1b[31mb"), ("a\rb", "a\\x0db"), ("a\x00b\x9b", "a\\x00b\\x9b"),
    ("a\n[2026-01-01 00:00:00 +0000] [1] [INFO] forged",
     "a\n [2026-01-01 00:00:00 +0000] [1] [INFO] forged"),
    ("line\n\tline", "line\n\tline"), ("é", "é"), ("\udcff", "\\udcff"),
])
def test_foreign_text_forges_nothing(capfd, text, written):
    log.setup()
    logger.error("%s", text)
    assert capfd.readouterr().err.endswith(f"[ERROR] {written}\n")


def test_tracebacks_are_written_as_they_are(capfd):
    log.setup()
    try:
        raise ValueError("\x1b[31m")
    except ValueError:
        logger.exception("failed")
    error = capfd.readouterr().err
    assert "[ERROR] failed\nTraceback (most recent call last):\n  File " in error
    assert error.endswith("ValueError: \\x1b[31m\n")


def test_a_file_and_its_rotation(tmp_path):
    path = tmp_path / "error.log"
    log.setup(error_logfile=str(path))
    logger.info("one")
    path.rename(tmp_path / "error.log.1")
    log.reopen()
    logger.info("two")
    assert (tmp_path / "error.log.1").read_text().endswith("[INFO] one\n")
    assert path.read_text().endswith("[INFO] two\n") and "one" not in path.read_text()


def test_a_reader_that_stopped_reading_does_not_block():
    reader, writer = os.pipe()
    saved = os.dup(2)
    os.dup2(writer, 2)
    try:
        handler = log.setup()
        for _ in range(3000):
            logger.error("x" * 1000)
        assert handler.sink.statistics()["dropped_lines"] > 0
    finally:
        os.dup2(saved, 2)
        for fd in (saved, reader, writer):
            os.close(fd)
