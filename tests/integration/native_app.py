"""The application of test_native_threads.py: what applications do that were written for uWSGI's
processes and threads.

geventuwsgi, uWSGI and gunicorn load it, never the tests. `/NAME` calls the function of that name
and responds with its result in JSON. `/together/NAME` does so once four requests are there;
`/django/...` and `/flask/...` belong to the frameworks. The ports of the databases stand in the
environment.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import io
import json
import logging
import multiprocessing
import os
import queue
import select
import selectors
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import django
import flask
import psycopg2
import pymysql
import redis
import requests
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, models, transaction
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

with contextlib.suppress(ImportError):  # where Django is to take psycopg2
    import psycopg

POSTGRESQL = {"host": "127.0.0.1", "port": int(os.environ.get("POSTGRESQL_PORT", 0)),
              "user": "postgres", "dbname": "postgres"}
MARIADB = {"host": "127.0.0.1", "port": int(os.environ.get("MARIADB_PORT", 0)), "user": "root"}
REDIS = redis.Redis(port=int(os.environ.get("REDIS_PORT", 0)))
UPSTREAM = os.environ.get("UPSTREAM", "")
LONG = 0.5  # seconds of a call that the threads have to make at the same time
TIMEOUT = 20.0

barrier = threading.Barrier(4)
local = threading.local()
variable = contextvars.ContextVar("variable", default=0)
left = []   # by threads that go on after their request


# Threads, and the standard library in them.

def modules(environ):
    """Everything is the standard library's."""
    found = {function.__qualname__: function.__module__ for function in (
        socket.socket, socket.create_connection, socket.getaddrinfo, threading.Thread,
        threading.Event, threading.get_ident, threading._start_new_thread, time.sleep,
        subprocess.Popen, ssl.SSLContext, ssl.SSLSocket, queue.Queue, queue.SimpleQueue, os.fork,
        os.waitpid, select.select, select.poll, signal.signal)}
    return {**found, "lock": type(threading.Lock()).__module__,
            "rlock": type(threading.RLock()).__module__, "local": threading.local.__module__,
            "epoll": select.epoll.__module__, "selector": selectors.DefaultSelector.__name__,
            "family": [kind.__name__ for kind in socket.socket.__mro__]}


def thread(environ):
    """Whether this is the main thread, and what the server says of itself."""
    return {"main": threading.current_thread() is threading.main_thread(),
            "ident": threading.get_ident() == threading.main_thread().ident,
            "multithread": bool(environ["wsgi.multithread"])}


def counter(environ):
    """The number of requests of this thread, and the thread."""
    local.count = getattr(local, "count", 0) + 1
    return local.count, threading.get_ident()


def context(environ):
    """The value of a context variable before this request sets it."""
    before = variable.get()
    variable.set(before + 1)
    return before


def leave_thread(environ):
    """Leave a thread running that waits and computes."""
    def go_on():
        time.sleep(0.05)
        left.append(sum(range(1000)))
    threading.Thread(target=go_on).start()
    return "left"


def left_thread(environ):
    """Wait for what a thread of an earlier request did."""
    end = time.monotonic() + TIMEOUT
    while not left and time.monotonic() < end:
        time.sleep(0.01)
    return left


def locks(environ):
    """A lock, a condition and a queue between this thread and another."""
    condition, inbox = threading.Condition(), queue.Queue()

    def answer():
        number = inbox.get(timeout=TIMEOUT)
        with condition:
            inbox.put(number + 1)
            condition.notify()
    other = threading.Thread(target=answer)
    other.start()
    with condition:
        inbox.put(1)
        arrived = condition.wait(TIMEOUT)
    other.join(TIMEOUT)
    return arrived, inbox.get(timeout=TIMEOUT), other.is_alive()


def executor(environ):
    """A pool of threads."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        begun = threading.Barrier(3)
        waited = [pool.submit(begun.wait, TIMEOUT) for _ in range(3)]
        return sorted(one.result(TIMEOUT) for one in waited), list(pool.map(abs, range(-3, 0)))


def sleep(environ):
    """A call that blocks."""
    time.sleep(LONG)
    return "slept"


# asyncio.

def run_asyncio(environ):
    """An event loop of its own, with timers, threads, a child and a connection."""
    async def both():
        async def number(value):
            await asyncio.sleep(0.01)
            return value
        child = await asyncio.create_subprocess_exec("/bin/echo", "from the child",
                                                     stdout=subprocess.PIPE)
        output, _ = await asyncio.wait_for(child.communicate(), TIMEOUT)
        in_thread = await asyncio.to_thread(lambda: threading.get_ident())
        server = await asyncio.start_server(lambda reader, writer: writer.write(b"hello\n"),
                                            "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            line = await asyncio.wait_for(reader.readline(), TIMEOUT)
            writer.close()
        return (await asyncio.gather(number(1), number(2)), output.decode(), child.returncode,
                in_thread == threading.get_ident(), line.decode())
    return asyncio.run(both())


def asyncio_signal(environ):
    """A handler of a loop, which only the main thread may have."""
    async def wait():
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGALRM, arrived.set)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        await asyncio.wait_for(arrived.wait(), TIMEOUT)
        return loop.remove_signal_handler(signal.SIGALRM)
    return asyncio.run(wait())


# Signals and processes.

class Alarm(Exception):
    """The time is over."""


def raise_alarm(number, frame):
    raise Alarm


def alarm(environ):
    """An alarm ends a sleep, a computation, and a wait for a lock."""
    before = signal.signal(signal.SIGALRM, raise_alarm)
    ended = []
    try:
        for wait in (lambda: time.sleep(TIMEOUT), compute, lambda: threading.Event().wait(TIMEOUT),
                     lambda: select.select([], [], [], TIMEOUT)):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                wait()
            except Alarm:
                ended.append(True)
    finally:
        signal.signal(signal.SIGALRM, before)
    return ended, signal.alarm(0)


def compute():
    """Compute until a signal handler raises."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        sum(range(1000))


def square(number):
    return number * number


def pool(environ):
    """multiprocessing.Pool."""
    with multiprocessing.Pool(2) as workers:
        return workers.map(square, range(5)), workers.apply_async(square, (7,)).get(TIMEOUT)


def busy_pool(environ):
    """A pool that is left while one of its processes is busy."""
    begun = time.monotonic()
    with multiprocessing.Pool(2) as workers:
        workers.apply_async(time.sleep, (2,))
        workers.apply(square, (2,))
    return time.monotonic() - begun < 1.9


def process_executor(environ):
    """concurrent.futures.ProcessPoolExecutor."""
    with concurrent.futures.ProcessPoolExecutor(2) as workers:
        return list(workers.map(square, range(5), timeout=TIMEOUT))


def put_square(into, number):
    into.put(square(number))


def process(environ):
    """multiprocessing.Process with a queue."""
    results = multiprocessing.Queue()
    child = multiprocessing.Process(target=put_square, args=(results, 6))
    child.start()
    result = results.get(timeout=TIMEOUT)
    child.join(TIMEOUT)
    return result, child.is_alive()


def spawn(environ):
    """A process of multiprocessing that is not forked."""
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        return workers.map(abs, [-1, -2])


def run_subprocess(environ):
    """subprocess.run, with input, a timeout, a directory and a shell."""
    upper = subprocess.run(["/usr/bin/tr", "a-z", "A-Z"], input="hello", text=True,
                           capture_output=True, timeout=TIMEOUT)
    where = subprocess.check_output("pwd; exit 0", shell=True, cwd="/", text=True)
    late = False
    try:
        subprocess.run(["/bin/sleep", str(TIMEOUT)], timeout=0.05)
    except subprocess.TimeoutExpired:
        late = True
    failed = subprocess.run(["/bin/sh", "-c", "kill -KILL $$"]).returncode
    return upper.stdout, where, late, failed


def fork(environ):
    """A child by os.fork that uses threads, logs, sockets and processes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            logging.getLogger(__name__).warning("the child logs")
            worked = []
            other = threading.Thread(target=lambda: worked.append("thread"))
            other.start()
            other.join(TIMEOUT)
            one, two = socket.socketpair()
            one.sendall(b"socket")
            worked.append(two.recv(100).decode())
            worked.append(subprocess.check_output(["/bin/echo", "process"], text=True).strip())
            os.write(writing, json.dumps(worked).encode())
            status = 7
        os._exit(status)
    os.close(writing)
    with open(reading) as result:
        text = result.read()
    return json.loads(text), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_terminate(environ):
    """A child that waits is ended by SIGTERM, as its parent has no handler for it."""
    return terminated(0.05) != 3


def fork_terminate_at_once(environ):
    """The same when SIGTERM may come before the child runs; uWSGI waits for ever."""
    return all(terminated(0) != 3 for _ in range(20))


def terminated(delay):
    """Fork a child and terminate it after `delay` seconds; return its exit status, 3 in vain."""
    child = os.fork()
    if child == 0:
        time.sleep(2)
        os._exit(3)
    time.sleep(delay)
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Databases and other servers.

def sqlite(environ):
    """A connection that belongs to this thread, as sqlite3 checks."""
    if not hasattr(local, "sqlite"):
        local.sqlite = sqlite3.connect(":memory:")
        local.sqlite.execute("create table item (name text)")
    with local.sqlite as database:
        database.execute("delete from item")
        database.executemany("insert into item values (?)", [("a",), ("b",)])
    return database.execute("select count(*), max(name) from item").fetchone()


def read_psycopg2(environ):
    """A query with psycopg2."""
    with contextlib.closing(psycopg2.connect(**POSTGRESQL)) as database, database.cursor() as rows:
        rows.execute("select n, n * n from generate_series(1, 3) as n")
        return rows.fetchall(), psycopg2.extensions.get_wait_callback() is None


def sleep_psycopg2(environ):
    """A call of a C library that blocks."""
    with contextlib.closing(psycopg2.connect(**POSTGRESQL)) as database, database.cursor() as rows:
        rows.execute("select pg_sleep(%s), 1", (LONG,))
        return rows.fetchone()[1]


def read_psycopg(environ):
    """A query with psycopg 3, and one with its asyncio side."""
    async def read():
        async with await psycopg.AsyncConnection.connect(**POSTGRESQL) as database:
            return await (await database.execute("select 6 * 7")).fetchone()
    with psycopg.connect(**POSTGRESQL) as database:
        rows = database.execute("select n, n * n from generate_series(1, 3) as n").fetchall()
    return rows, asyncio.run(read())


def sleep_psycopg(environ):
    """A call of a C library that waits through Python."""
    with psycopg.connect(**POSTGRESQL) as database:
        return database.execute("select pg_sleep(%s), 1", (LONG,)).fetchone()[1]


def read_pymysql(environ):
    """A query with PyMySQL."""
    with contextlib.closing(pymysql.connect(**MARIADB)) as database, database.cursor() as rows:
        rows.execute("select 1 union select 4 union select 9")
        return sorted(rows.fetchall())


def sleep_pymysql(environ):
    with contextlib.closing(pymysql.connect(**MARIADB)) as database, database.cursor() as rows:
        rows.execute("select sleep(%s)", (LONG,))
        return rows.fetchall()


def use_redis(environ):
    """A hash, a list that blocks, a pipeline, and a subscription."""
    key = f"test-{os.getpid()}-{threading.get_ident()}"
    REDIS.hset(key, mapping={"one": 1, "two": 2})
    inbox = f"{key}-inbox"
    other = threading.Thread(target=lambda: (time.sleep(0.05), REDIS.rpush(inbox, "pushed")))
    other.start()
    popped = REDIS.blpop(inbox, timeout=TIMEOUT)
    other.join(TIMEOUT)
    with REDIS.pubsub() as channel:
        channel.subscribe(key)
        channel.get_message(timeout=TIMEOUT)
        REDIS.publish(key, "published")
        message = channel.get_message(timeout=TIMEOUT)
    with REDIS.pipeline() as commands:
        found = commands.hgetall(key).delete(key).execute()
    return str(found), popped[1].decode(), message["data"].decode()


def use_requests(environ):
    """Several requests to another server, on one connection and in threads."""
    with requests.Session() as session:
        texts = [session.get(f"{UPSTREAM}/{number}", timeout=TIMEOUT).text for number in range(3)]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        more = list(threads.map(lambda number: requests.get(f"{UPSTREAM}/{number}",
                                                            timeout=TIMEOUT).text, range(3)))
    return texts, more


# Bodies.

def body(environ):
    """What the request's body is."""
    text = environ["wsgi.input"].read()
    return len(text), text[:1].decode(), len(set(text))


def pieces(start_response):
    """A response by a generator that also waits."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(50):
        if number % 10 == 0:
            time.sleep(0.001)
        yield b"%d\n" % number * 1000


def written(start_response):
    """A response by the callable that start_response returns."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(50):
        write(b"%d\n" % number * 1000)
    return [b"end"]


def application(environ, start_response):
    """Respond as the path says."""
    first, _, rest = environ["PATH_INFO"][1:].partition("/")
    if first == "django":
        return of_django(environ, start_response)
    if first == "flask":
        return of_flask(environ, start_response)
    if first == "pieces":
        return pieces(start_response)
    if first == "written":
        return written(start_response)
    if first == "file":
        start_response("200 OK", [("Content-Type", "text/plain")])
        wrapper = environ.get("wsgi.file_wrapper", lambda file: iter(lambda: file.read(8192), b""))
        return wrapper(open(__file__, "rb"))
    if first == "together":
        barrier.wait(TIMEOUT)
        first = rest
    text = json.dumps(globals()[first](environ)).encode()
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(text)))])
    return [text]


# Flask.

of_flask = flask.Flask(__name__)
of_flask.config["SECRET_KEY"] = "not a secret"


@of_flask.route("/flask/<driver>")
def read(driver):
    """A query with a driver, in a generator that keeps Flask's context."""
    result = {"psycopg2": read_psycopg2, "psycopg": read_psycopg, "pymysql": read_pymysql,
              "redis": use_redis, "requests": use_requests}[driver]({})
    flask.session["driver"] = driver

    @flask.stream_with_context
    def respond():
        yield flask.request.path
        yield json.dumps(result)
    return flask.Response(respond(), mimetype="text/plain")


@of_flask.route("/flask/async")
async def flask_async():
    """An async view; it runs by asgiref."""
    await asyncio.sleep(0.01)
    return flask.jsonify(await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0.01, 2)))


@of_flask.route("/flask/upload", methods=["POST"])
def flask_upload():
    """A form with a file."""
    return flask.jsonify(name=flask.request.form["name"],
                         size=len(flask.request.files["file"].read()))


# Django.

settings.configure(
    SECRET_KEY="not a secret", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField", DEBUG_PROPAGATE_EXCEPTIONS=False,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres",
        "HOST": "127.0.0.1", "PORT": POSTGRESQL["port"], "CONN_MAX_AGE": 600}})
django.setup()


class Item(models.Model):
    """The table of `create`."""

    name = models.TextField()

    class Meta:
        app_label = "native"
        db_table = "item"


def driver():
    """The name of the module with which Django talks to PostgreSQL."""
    connection.ensure_connection()
    return type(connection.connection).__module__.partition(".")[0]


def sync_view(request):
    """The ORM, in a transaction."""
    with transaction.atomic():
        names = list(Item.objects.order_by("name").values_list("name", flat=True))
        Item.objects.filter(name="nobody").delete()
    return JsonResponse({"names": names, "driver": driver()})


async def async_view(request):
    """An async view, which WSGI runs by async_to_sync."""
    found = await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0.01, 2))
    return JsonResponse({"found": found,
                         "thread": await sync_to_async(threading.get_ident)() != 0})


async def async_orm(request):
    """The async ORM in an async view: all of it on the connection of one thread."""
    names = [item.name async for item in Item.objects.order_by("name")]
    first = await Item.objects.aget(name="apple")
    counts = await asyncio.gather(*(Item.objects.acount() for _ in range(5)))
    pids = {await sync_to_async(backend)() for _ in range(3)}
    return JsonResponse({"names": names, "first": first.name, "counts": counts,
                         "connections": len(pids)})


def async_in_sync(request):
    """The async ORM in a WSGI view."""
    async def count():
        return await Item.objects.acount(), await sync_to_async(backend)()
    number, pid = async_to_sync(count)()
    return JsonResponse({"number": number, "same": pid == backend()})


def async_by_run(request):
    """The async ORM by asyncio.run, as in scripts that were moved into a view."""
    async def count():
        return await Item.objects.acount()
    return JsonResponse({"number": asyncio.run(count())})


def backend():
    """The process of PostgreSQL that serves this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]


def backend_view(request, together):
    """The connection of this thread, which CONN_MAX_AGE keeps."""
    if together:
        barrier.wait(TIMEOUT)
    return JsonResponse([backend(), threading.get_ident()], safe=False)


def stream_view(request):
    """A response in pieces from the database."""
    def names():
        for item in Item.objects.order_by("name").iterator(chunk_size=1):
            yield item.name + "\n"
    return StreamingHttpResponse(names(), content_type="text/plain")


async def async_stream(request):
    """An async generator, which WSGI has to collect."""
    async def names():
        async for item in Item.objects.order_by("name"):
            yield item.name + "\n"
    return HttpResponse("".join([name async for name in names()]))


def file_view(request):
    return FileResponse(io.BytesIO(b"file" * 10000), filename="file.txt")


def create(request):
    """Create the table, once for all servers."""
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists item (id serial primary key, name text unique)")
        cursor.execute("insert into item (name) values ('plum'), ('pear'), ('apple') "
                       "on conflict do nothing")
    return HttpResponse("created")


urlpatterns = [path("django/create", create),
               path("django/sync", sync_view), path("django/async", async_view),
               path("django/async-orm", async_orm), path("django/async-in-sync", async_in_sync),
               path("django/async-by-run", async_by_run), path("django/stream", stream_view),
               path("django/async-stream", async_stream), path("django/file", file_view),
               path("django/backend", backend_view, {"together": False}),
               path("django/backend-together", backend_view, {"together": True})]
of_django = get_wsgi_application()
