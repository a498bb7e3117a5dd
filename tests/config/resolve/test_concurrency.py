"""How a worker runs requests: which option decides, what the others say then, and the texts."""

from typing import Any

import pytest

from geventuwsgi.config.commands.show import shown
from geventuwsgi.config.options.table import row
from geventuwsgi.config.resolve.concurrency import PER, concurrency, meaning, summary

OWN = "[geventuwsgi]\n"
MAIN_THREAD = "one request at a time in the main thread"
MORE = "; threads = N or gevent = N for more"
# text, (gevent, threads, monkey_patch), the words of the startup log, parts of each warning
CASES: list[tuple[str, tuple[object, int, bool], str, list[str]]] = [
    # a [uwsgi] section: what uWSGI would do
    ("", (None, 1, False), MAIN_THREAD + MORE, []),
    ("threads = 1\n", (None, 1, False), MAIN_THREAD, []),
    ("threads = true\n", (None, 1, False), MAIN_THREAD, ["'true' is read as 1"]),
    ("threads = 4\n", (None, 4, False), "4 threads", []),
    ("enable-threads = true\nthreads = 2\n", (None, 2, False), "2 threads", []),
    ("gevent = 100\n", (100, 1, True), "100 greenlets, standard library patched", []),
    ("async = 50\n", (50, 1, True), "50 greenlets, standard library patched", []),
    ("gevent = 1\n", (1, 1, True), "1 greenlet, standard library patched", []),
    ("gevent = 100\nthreads = 1\n", (100, 1, True), "100 greenlets, standard library patched", []),
    ("gevent = 100\nthreads = 4\n", (100, 4, True), "100 greenlets, standard library patched",
     ["threads: has no effect: gevent = 100 (", "app.ini:2) runs requests in greenlets"]),
    ("async = 9\nthreads = 4\n", (9, 4, True), "9 greenlets, standard library patched",
     ["threads: has no effect: async = 9 ("]),
    ("gevent = 0\n", (0, 1, False), MAIN_THREAD, []),
    ("gevent = 0\nthreads = 4\n", (0, 4, False), "4 threads", []),
    ("loop = gevent\n", (None, 1, False), MAIN_THREAD + MORE, []),
    ("gevent-early-monkey-patch = true\nthreads = 2\n", (None, 2, False), "2 threads", []),
    ("worker-class = gevent\n", (1, 1, True), "1 greenlet, standard library patched", []),
    ("worker-class = sync\nthreads = 3\n", (None, 3, False), "3 threads", []),
    # elsewhere: greenlets, unless something asks for native threads
    (OWN, (1000, 1, True), "1000 greenlets, standard library patched", []),
    (OWN + "gevent = 7\n", (7, 1, True), "7 greenlets, standard library patched", []),
    (OWN + "threads = 4\n", (None, 4, False), "4 threads", []),
    (OWN + "threads = 1\n", (None, 1, False), MAIN_THREAD, []),
    (OWN + "gevent = 0\n", (0, 1, False), MAIN_THREAD, []),
    (OWN + "gevent = 0\nthreads = 4\n", (0, 4, False), "4 threads", []),
    (OWN + "gevent = 7\nthreads = 4\n", (7, 4, True), "7 greenlets, standard library patched",
     ["threads: has no effect: gevent = 7 ("]),
    # gunicorn's worker classes; its sync worker with threads is gthread
    (OWN + "worker-class = sync\n", (None, 1, False), MAIN_THREAD, []),
    (OWN + "worker-class = sync\nthreads = 3\n", (None, 3, False), "3 threads", []),
    (OWN + "worker-class = gthread\n", (None, 1, False), MAIN_THREAD, []),
    (OWN + "worker-class = gthread\nthreads = 1\n", (None, 1, False), MAIN_THREAD, []),
    (OWN + "worker-class = gthread\nthreads = 3\n", (None, 3, False), "3 threads", []),
    (OWN + "worker-class = gevent\n", (1000, 1, True), "1000 greenlets, standard library patched",
     []),
    (OWN + "worker-class = gevent\nthreads = 4\n", (4, 4, True),
     "4 greenlets, standard library patched",
     ["threads: 4 requests at once in greenlets, not in native threads, because of "
      "worker-class = gevent ("]),
    (OWN + "worker-class = gthread\ngevent = 9\n", (9, 1, True),
     "9 greenlets, standard library patched", ["worker-class: has no effect: gevent = 9 ("]),
    (OWN + "worker-class = gevent\ngevent = 0\n", (0, 1, False), MAIN_THREAD,
     ["worker-class: has no effect: gevent = 0 (", "turns greenlets off"]),
    # monkey-patch decides whether the process is patched, and so where requests run
    ("monkey-patch = true\n", (1, 1, True), "1 greenlet, standard library patched", []),
    ("monkey-patch = true\nthreads = 4\n", (4, 4, True), "4 greenlets, standard library patched",
     ["threads: 4 requests at once in greenlets, not in native threads, because of "
      "monkey-patch = true ("]),
    (OWN + "monkey-patch = true\n", (1000, 1, True), "1000 greenlets, standard library patched",
     []),
    (OWN + "monkey-patch = true\ngevent = 0\n", (1, 1, True),
     "1 greenlet, standard library patched", ["gevent: has no effect: monkey-patch = true ("]),
    (OWN + "monkey-patch = true\nworker-class = sync\n", (1, 1, True),
     "1 greenlet, standard library patched",
     ["worker-class: has no effect: monkey-patch = true ("]),
    (OWN + "monkey-patch = true\nworker-class = gthread\nthreads = 3\n", (3, 3, True),
     "3 greenlets, standard library patched",
     ["threads: 3 requests at once", "worker-class: has no effect"]),
    ("monkey-patch = false\n", (None, 1, False), MAIN_THREAD, []),
    ("monkey-patch = false\nthreads = 4\n", (None, 4, False), "4 threads", []),
    ("monkey-patch = false\ngevent = 5\n", (5, 1, False),
     "5 greenlets, standard library not patched", []),
    (OWN + "monkey-patch = false\n", (1000, 1, False),
     "1000 greenlets, standard library not patched", []),
    (OWN + "monkey-patch = false\nworker-class = sync\n", (None, 1, False), MAIN_THREAD, []),
    # what needs greenlets
    ("gevent-wait-for-hub = true\n", (None, 1, False), MAIN_THREAD + MORE,
     ["gevent-wait-for-hub: has no effect without gevent"]),
    ("gevent = 2\ngevent-wait-for-hub = true\n", (2, 1, True),
     "2 greenlets, standard library patched", []),
]


@pytest.mark.parametrize(("text", "values", "words", "warnings"), CASES)
def test_what_decides(resolve: Any, text: str, values: tuple[object, int, bool], words: str,
                      warnings: list[str]) -> None:
    settings = resolve(text)
    assert (settings.gevent, settings.threads, settings.monkey_patch) == values
    assert settings.slots == (values[0] or values[1])
    assert summary(settings) == words
    found = "\n".join(settings.warnings)
    assert bool(found) == bool(warnings)
    for part in warnings:
        assert part in found


@pytest.mark.parametrize(("text", "values", "words", "warnings"), CASES)
def test_shown_settings_run_requests_in_the_same_way(
        resolve: Any, text: str, values: tuple[object, int, bool], words: str,
        warnings: list[str]) -> None:
    again = resolve(shown(resolve(text)))
    assert concurrency(again) == words.removesuffix(MORE)


def test_the_command_line(resolve: Any) -> None:
    for arguments, words in (
            ("", "1000 greenlets, standard library patched"), ("--threads 4", "4 threads"),
            ("-k gthread --threads 4", "4 threads"), ("-k sync", MAIN_THREAD),
            ("--gevent 8", "8 greenlets, standard library patched")):
        settings = resolve(None, "app:app", *arguments.split())
        assert summary(settings) == words and settings.warnings == ()
    settings = resolve(OWN + "gevent = 9\n", "-k", "sync", "--threads", "2")
    assert [one.partition(" (")[0] for one in settings.warnings] == [
        "command line: threads: has no effect: gevent = 9",
        "command line: k: has no effect: gevent = 9"]
    assert concurrency(resolve(OWN + "gevent = 9\n", "--gevent", "0", "-k", "sync")) == MAIN_THREAD
    assert concurrency(resolve("threads = 9\n", environ={"GEVENTUWSGI_THREADS": "3"})) \
        == "3 threads"


def test_an_unpatched_process_with_greenlets_has_a_note(resolve: Any) -> None:
    for text in ("gevent = 5\n", OWN):
        assert resolve(text).notes == ()
        assert resolve(f"{text}monkey-patch = false\n").notes == (
            "monkey-patch = false: a request that waits in the standard library blocks its "
            "worker's other requests; threads = N runs requests in native threads",)
    assert resolve("monkey-patch = false\n").notes == ()


def test_the_worker_class_that_was_not_set(resolve: Any) -> None:
    for text, expected in (("", "sync"), ("threads = 2\n", "gthread"), ("gevent = 2\n", "gevent")):
        assert resolve(text).worker_class == expected


def test_an_asgi_application_has_connections(resolve: Any) -> None:
    settings = resolve("asgi = m:a\nworker-connections = 9\nmonkey-patch = true\nthreads = 4\n")
    assert concurrency(settings) == "9 connections at a time"
    assert sorted(one.partition("has no effect")[2] for one in settings.warnings) == [
        " with ASGI: an event loop needs the unpatched standard library",
        " with ASGI: worker-connections limits an event loop, which has no slots"]


@pytest.mark.parametrize(("text", "name", "expected"), [
    ("threads = 4\n", "threads", "4 threads per worker"),
    ("threads = 1\n", "threads", MAIN_THREAD),
    ("gevent = 4\n", "gevent", "4 greenlets per worker, standard library patched"),
    (OWN + "worker-class = sync\n", "worker-class", MAIN_THREAD),
    (OWN + "monkey-patch = true\n", "monkey-patch",
     "1000 greenlets per worker, standard library patched"),
    (OWN + "monkey-patch = false\n", "monkey-patch",
     "a request that waits in the standard library blocks its worker's other requests"),
    ("monkey-patch = false\nthreads = 2\n", "monkey-patch",
     "nothing is patched: 2 threads per worker"),
    ("processes = 1\n", "processes", f"1 worker with {MAIN_THREAD}: 1 request at once"),
    ("processes = 3\nthreads = 4\n", "processes",
     "3 workers, each with 4 threads: 12 requests at once"),
    ("processes = 2\nasgi = m:a\n", "processes",
     "2 workers, each with 1000 connections at a time: 2000 connections at once"),
    ("threads = 4\n", "harakiri", ""),
    ("asgi = m:a\n", "threads", ""),
])
def test_what_a_line_means(resolve: Any, text: str, name: str, expected: str) -> None:
    option = row(name)
    assert option is not None and meaning(option, resolve(text)) == expected


def test_a_summary_for_each_worker(resolve: Any) -> None:
    assert summary(resolve("threads = 4\n"), PER) == "4 threads per worker"
    assert summary(resolve(""), PER) == MAIN_THREAD + MORE
