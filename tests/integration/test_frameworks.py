"""Flask and Django started as by their users, through nginx and under wsgiref's validator."""

import threading

import pytest

from tests.harness import Server, installed
from tests.integration.conftest import backend
from tests.integration.nginx import Nginx

FLASK = '''
from flask import Flask, Response, jsonify, redirect, request, send_file, session, url_for


def create_app(greeting="hello"):
    app = Flask(__name__)
    app.secret_key = "not a secret"

    @app.get("/")
    def index():
        return greeting

    @app.post("/form")
    def form():
        upload = request.files.get("upload")
        return jsonify(form=request.form.to_dict(), size=len(upload.read()) if upload else None)

    @app.get("/away")
    def away():
        session["seen"] = 1
        return redirect(url_for("index"))

    @app.get("/seen")
    def seen():
        return str(session.get("seen", 0))

    @app.get("/feed")
    def feed():
        return Response((f"data: {number}\\n\\n" for number in range(3)),
                        mimetype="text/event-stream")

    @app.get("/file")
    def file():
        return send_file(__file__, mimetype="text/x-python", conditional=True)

    @app.get("/broken")
    def broken():
        raise RuntimeError("flask broke as asked")

    return app
'''
SHOP_WSGI = '''
from wsgiref.validate import validator

from shop import create_app

app = create_app()


def checked():
    """A factory, as some deployments have it. Forms are not for the validator:
    werkzeug reads them by a `read()` without a size."""
    made = validator(create_app("checked"))

    def application(environ, start_response):
        for name in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):  # nginx sends them too
            environ.pop(name, None)
        return made(environ, start_response)
    return application
'''

DJANGO = {
    "__init__.py": "",
    "settings.py": '''
SECRET_KEY = "not a secret"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_of_ours.urls"
WSGI_APPLICATION = "site_of_ours.wsgi.application"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware",
              "django.middleware.common.CommonMiddleware"]
INSTALLED_APPS = ["django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
USE_TZ = True
''',
    "urls.py": '''
from django.db import connection
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse


def index(request):
    return HttpResponse("hello from django")


def article(request, name):
    with connection.cursor() as cursor:
        cursor.execute("select 6 * 7")
        answer, = cursor.fetchone()
    response = JsonResponse({"name": name, "answer": answer, "secure": request.is_secure(),
                             "url": request.build_absolute_uri(reverse("index")),
                             "script": request.META["SCRIPT_NAME"]})
    response.set_cookie("seen", name)
    response.set_cookie("twice", "1")
    return response


def upload(request):
    return HttpResponse(f"{request.POST['title']} {len(request.FILES['file'].read())}")


def stream(request):
    return StreamingHttpResponse((f"{number}\\n" for number in range(1000)))


def file(request):
    return FileResponse(open(__file__, "rb"))


urlpatterns = [path("", index, name="index"), path("article/<str:name>/", article),
               path("upload/", upload), path("stream/", stream), path("file/", file)]
''',
    "wsgi.py": '''
"""What `django-admin startproject` writes."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_ours.settings")

application = get_wsgi_application()
''',
}


@pytest.fixture(scope="module")
def sites(place):
    """Both projects in one directory."""
    (place / "shop").mkdir()
    (place / "shop" / "__init__.py").write_text(FLASK)
    (place / "shop" / "wsgi.py").write_text(SHOP_WSGI)
    (place / "site_of_ours").mkdir()
    for name, text in DJANGO.items():
        (place / "site_of_ours" / name).write_text(text)
    return place


@pytest.fixture(scope="module")
def serve(sites):
    """A function that starts a server behind nginx, once per command line; returns the nginx."""
    running = {}

    def start(kind, *arguments, ini=None):
        key = (kind, arguments, ini)
        if key not in running:
            installed("nginx")  # before starting a server that would run on
            option = "--socket" if kind == "uwsgi" else "--http-socket"
            server = Server(sites, option, "127.0.0.1:0", *arguments, ini=ini).start()
            nginx = Nginx(sites / f"nginx{len(running)}", kind, backend(server, kind, 0))
            running[key] = (server, nginx.start())
        return running[key][1]
    yield start
    for server, nginx in running.values():
        nginx.__exit__()
        assert not nginx.errors
        status = server.stop()
        server.__exit__()
        assert status == 0


SPELLINGS = {
    "module:attribute": (b"hello", ["shop.wsgi:app"]),
    "--module": (b"hello", ["--module", "shop.wsgi:app"]),
    "--module --callable": (b"hello", ["--module", "shop.wsgi", "--callable", "app"]),
    "--wsgi-file": (b"hello", ["--wsgi-file", "shop/wsgi.py", "--callable", "app"]),
    "factory": (b"hello", ["shop:create_app()"]),
    "factory with an argument": (b"good morning", ["shop:create_app('good morning')"]),
    "validated": (b"checked", ["shop.wsgi:checked()"]),
}


@pytest.mark.parametrize("spelling, kind", [*((name, "uwsgi") for name in SPELLINGS),
                                            ("module:attribute", "http"), ("validated", "http")])
def test_flask_in_each_form_of_the_option(serve, spelling, kind):
    expected, arguments = SPELLINGS[spelling]
    assert serve(kind, *arguments).ask("/").body == expected


@pytest.mark.parametrize("kind", ["uwsgi", "http"])
def test_flask(serve, kind):
    nginx = serve(kind, *SPELLINGS["module:attribute"][1])
    assert nginx.ask("/form", "POST", b"a=1&b=%20x", {
        "Content-Type": "application/x-www-form-urlencoded"}).body == (
            b'{"form":{"a":"1","b":" x"},"size":null}\n')
    assert b'"size":300000' in nginx.ask("/form", "POST", *multipart(300000)).body
    away = nginx.ask("/away")
    assert away.status == 302 and away.get("location") == "/"
    cookie = away.get("set-cookie").partition(";")[0]
    assert nginx.ask("/seen", headers={"Cookie": cookie}).body == b"1"
    assert nginx.ask("/feed").body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert nginx.ask("/file").body.decode() == FLASK
    assert nginx.ask("/file", headers={"Range": "bytes=1-4"}).body == FLASK[1:5].encode()
    etag = nginx.ask("/file").get("etag")
    assert nginx.ask("/file", headers={"If-None-Match": etag}).status == 304
    assert nginx.ask("/nowhere").status == 404
    assert nginx.ask("/form").status == 405
    assert nginx.ask("/broken").status == 500
    assert nginx.ask("/", "OPTIONS").get("allow")


@pytest.mark.parametrize("kind", ["uwsgi", "http"])
def test_django(serve, kind):
    nginx = serve(kind, "--module", "site_of_ours.wsgi:application", "--processes", "2")
    check_django(nginx)


def test_django_as_a_wsgi_file_under_a_prefix(serve):
    nginx = serve("uwsgi", "--mount", "/shop=site_of_ours/wsgi.py", "--manage-script-name",
                  "--need-app")
    answer = nginx.ask("/shop/article/x/").body
    assert b'"script": "/shop"' in answer and b'/shop/"' in answer


def test_django_from_an_ini_file(serve, sites):
    nginx = serve("uwsgi", ini="[uwsgi]\nchdir = %d\nmodule = site_of_ours.wsgi\n"
                  "env = DJANGO_SETTINGS_MODULE=site_of_ours.settings\nthreads = 4\n"
                  "master = 1\nvacuum = 1\n")
    check_django(nginx)


def check_django(nginx):
    assert nginx.ask("/").body == b"hello from django"
    article = nginx.ask("/article/caf%C3%A9/", headers={"Host": "shop.example:81"})
    assert b'"answer": 42' in article.body and b'"caf\\u00e9"' in article.body
    assert b"shop.example" in article.body and b'"secure": false' in article.body
    assert len(article.all("set-cookie")) == 2
    assert nginx.ask("/article/x").get("location") == "/article/x/"
    assert nginx.ask("/upload/", "POST", *multipart(3 << 20)).status == 200
    assert nginx.ask("/stream/").body.count(b"\n") == 1000
    assert nginx.ask("/file/").body.decode() == DJANGO["urls.py"]
    assert nginx.ask("/nowhere/").status == 404


def test_concurrent_requests_are_separate(serve):
    """Sixteen clients with different paths: each gets its own response."""
    nginx = serve("uwsgi", "--module", "site_of_ours.wsgi:application", "--processes", "2")
    wrong = []

    def client(name):
        for number in range(20):
            answer = nginx.ask(f"/article/{name}-{number}/")
            if f'"{name}-{number}"'.encode() not in answer.body:
                wrong.append(answer.body)
    threads = [threading.Thread(target=client, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def multipart(size):
    """Return body and fields of a form with a file of this size."""
    parts = (b'--cut\r\nContent-Disposition: form-data; name="title"\r\n\r\na title\r\n'
             b'--cut\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n'
             b"Content-Type: application/octet-stream\r\n\r\n%s\r\n")
    body = b"".join((parts % (name, b"x" * size)) for name in (b"file", b"upload"))
    return body + b"--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"}
