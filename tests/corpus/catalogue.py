"""The files of the corpus, the requests to each, and the differences from uWSGI."""

from tests.corpus.entry import ANY, Ask, Differences, Entry, get, post, through

HEAD = Ask("HEAD /")
FORM = post("/form", b"name=caf%C3%A9&size=2")
DJANGO = (*get("/", "/where?a=1&b=%20c", "/away", "/feed", "/missing", "/slashed?x=1", "/broken"),
          FORM, HEAD)
FLASK = (*get("/", "/where?a=1&b=%20c", "/away", "/feed", "/file", "/missing", "/teapot",
              "/broken"), FORM, post("/form", b'{"a": [1, 2]}', "application/json"), HEAD)
PYRAMID = (*get("/", "/where?a=1", "/away", "/missing"), HEAD)
FACTS = (*get("/", "/a%20b/c?x=1&y=%20", "/moved", "/nothing", "/missing", "/pieces"),
         post("/form", b"a=1"), HEAD)
FILE = {"If-Modified-Since": "Fri, 01 Jan 2021 00:00:00 GMT"}


def files(*paths: str) -> tuple[Ask, ...]:
    """Return requests for static files: GET, HEAD, conditional, gzip, POST."""
    return (*get(*paths), Ask(f"HEAD {paths[0]}"), Ask(f"GET {paths[0]}", FILE),
            Ask(f"GET {paths[0]}", {"Accept-Encoding": "gzip"}), Ask(f"POST {paths[0]}"))


# Differences that several files have.
_ETAG = "static files have an entity tag, and say that ranges and compressed twins are there"
_UNCHANGED = "a 304 repeats the fields that keep caches fresh (RFC 9110, 15.4.5)"
STATIC: Differences = {
    "*: etag": (ANY, _ETAG), "*: accept-ranges": ("bytes", _ETAG),
    "*: vary": ("Accept-Encoding", _ETAG),
    "* If-Modified-Since:*: content-type": (ANY, _UNCHANGED),
    "* If-Modified-Since:*: expires": (ANY, _UNCHANGED),
    "* If-Modified-Since:*: last-modified": (ANY, _UNCHANGED)}
TYPED: Differences = {
    "*: content-type": ("text/plain", "responses of rules have a Content-Type")}
_WHEEL = "the wheel's Python has read its environment before the file's env; ours after it"
_BLANK = "blanks around a variable's name and value are not part of them"
_HOME = "the wheel runs inside a Python that was started without the home"
_ROUTER = "our router passes the client's address and scheme to the application"
_BYTES = "uWSGI on Python 3 wants the names in `applications` to be bytes, which no application has"
_OWN = "our own responses contain their status and a charset"
_HOST = "manage-script-name finds mounts of a host, too; uWSGI only those without one"
_EMPEROR = "there is no emperor: the message says how to run each of its files"
WHERE = "GET /where?a=1&b=%20c: body."
_BROKEN = "an exception before the response is a 500; uWSGI closes without a response"


def broken(label: str) -> Differences:
    """Return the differences for an exception of the application over the uwsgi protocol."""
    return {f"{label}: status": (500, _BROKEN), f"{label}: reason": (ANY, _BROKEN),
            f"{label}: body": ("500 Internal Server Error\n", _BROKEN),
            f"{label}: content-type": ("text/plain; charset=utf-8", _BROKEN)}


APPS = "etc/uwsgi/apps-enabled/"
ENTRIES: tuple[Entry, ...] = (
    # Django
    Entry(APPS + "shop-nginx.ini", {"/run/shop/shop.sock": DJANGO}),
    Entry(APPS + "shop-www-data.ini", {"/run/shop/shop-www-data.sock": DJANGO}, root="www-data",
          differs={"after: run/shop/shop-www-data.pid":
                   (None, "vacuum removes the pid file; uWSGI not what root wrote")}),
    Entry(APPS + "shop-defaults.ini", {"/run/shop/defaults.sock": DJANGO}),
    Entry(APPS + "shop-names.ini", {"/run/uwsgi/shop.sock": DJANGO},
          differs={"/run/uwsgi/shop.sock " + WHERE + "secret": ("shop-of-deploy", _WHEEL),
                   "/run/uwsgi/shop.sock " + WHERE + "stage": ("production", _WHEEL)}),
    Entry("srv/shop/shop-envfile.ini", {"8000": DJANGO}, env={"STAGE": "not this"},
          differs={"8000 " + WHERE + "secret": ("from-the-env-file", _WHEEL),
                   "8000 " + WHERE + "stage": ("production", _WHEEL)}),
    Entry("srv/shop/shop-container.ini", {
        "9009": (*DJANGO, *files("/static/css/site.css", "/media/logo.svg", "/robots.txt"))},
          differs=STATIC),
    Entry("srv/shop/shop-router.ini", {"8000": DJANGO}),
    Entry("srv/shop/shop-below.ini", {
        "3031": (*get("/shop/", "/shop/where?a=1", "/shop", "/shopping", "/"),
                 post("/shop/form", b"a=1"))},
          differs={"3031 GET /shop/where?a=1: body.stage": ("below", _WHEEL)}),
    Entry("srv/shop/shop-daemon.ini", {"/run/shop/daemon.sock": DJANGO}),
    Entry("srv/shop/shop-comments.ini", {
        "uwsgi:3031": (*DJANGO, *files("/static/css/site.css"))},
          differs=STATIC),
    Entry("srv/shop/shop-deployments.ini", {"/run/shop/deployments.sock": DJANGO}),
    # Flask
    Entry("srv/blog/blog-container.ini", {"8080": FLASK}, directory="srv/blog"),
    Entry("srv/blog/blog-factory.ini", {"/tmp/blog-factory.sock": FLASK}),
    Entry("srv/blog/blog-tutorial.ini", {"/srv/blog/blog.sock": FLASK}, directory="srv/blog"),
    Entry("srv/blog/blog-main.ini", {"8080": FLASK}, directory="srv/blog"),
    Entry("srv/blog/blog-gevent.ini", {"5000": FLASK}),
    Entry("srv/blog/blog-develop.ini", {"5000": FLASK}, directory="srv/blog"),
    Entry("srv/blog/blog-search.ini", {
        "8080": (*FLASK, *files("/static/blog.css"))},
          differs=STATIC),
    Entry("srv/blog/blog-mount.ini", {
        "8080": (*get("/blog/", "/blog/where?a=1", "/blog", "/blog/away", "/blogger"),
                 post("/blog/form", b"a=1"))}),
    Entry("srv/blog/blog-venv.ini", {"/tmp/blog-venv.socket": FLASK}, directory="srv/blog",
          env={"VIRTUAL_ENV": "/home/deploy/venv"}),
    Entry("srv/blog/blog-twelve.ini", {"8080": FLASK}, directory="srv/blog",
          env={"PORT": "8080", "APP_MODULE": "wsgi:app", "WEB_CONCURRENCY": "3",
               "APP_STAGE": "live"},
          differs={"8080 " + WHERE + "stage": ("live-$(APP_UNSET)", _WHEEL)}),
    # Pyramid
    Entry("srv/board/production.ini", {"/run/uwsgi/board.sock": PYRAMID}),
    Entry(APPS + "board-paste.ini", {"6543": PYRAMID}),
    Entry(APPS + "board-script.ini", {"uwsgi:3032": PYRAMID}),
    # Plain callables, several applications
    Entry(APPS + "many.ini", {
        "8000": (*get("/", "/shop/where", "/shop/slashed", "/blog/where", "/blog", "/api",
                      "/api/x?y=1", "/api/v2/x", "/api/v2", "/apis", "/other/x"),)}),
    Entry("srv/api/several.ini", {"8000": get("/x", "/news", "/news/x")}, alone=_BYTES,
          differs={
              "8000 GET /x: body": ("root at /x", _BYTES),
              "8000 GET /news: body": ("news at ", _BYTES),
              "8000 GET /news/x: body": ("news at /x", _BYTES),
              "*: status": (200, _BYTES), "*: reason": ("OK", _BYTES),
              "*: content-type": ("text/plain", _BYTES)}),
    Entry("srv/api/both.ini", {"uwsgi:3031": FACTS, "8080": (*FACTS, *get("/broken"))},
          directory="srv/api",
          differs=broken("8080 GET /broken")),
    Entry("srv/api/bare.ini", {"8080": FACTS}),
    Entry("srv/api/dos.ini", {"8080": FACTS},
          differs={"*: body.env": ({"SITE_NAME": "two words", "SITE_QUOTED": '"quoted"'}, _BLANK),
                   "8080 HEAD /: content-length": (ANY, _BLANK)}),
    Entry("srv/api/pieces.ini", {"8080": FACTS}, env={"APP_GONE": "x", "APP_KEPT": "y"}),
    Entry("srv/api/bodies.ini", {
        "8080": (*FACTS, post("/form", b"x" * 90), post("/form", b"x" * 900),
                 post("/form?more", b"x" * 1100))},
          differs={f"8080 POST /form?more Content-Type:application/x-www-form-urlencoded: {what}":
                   (value, "too large a body is answered; uWSGI closes without a word")
                   for what, value in {
                       "status": 413, "reason": "Request Entity Too Large",
                       "body": "413 Request Entity Too Large\n",
                       "content-type": "text/plain; charset=utf-8"}.items()}),
    Entry("srv/api/home.ini", {"/run/uwsgi/home.sock": FACTS},
          differs={"*: body.loaded": (["extra_venv"], _HOME),
                   "*HEAD /: content-length": (ANY, _HOME)}),
    Entry("srv/api/nothing.ini", {}, status=4, alone="both end; uWSGI with 22"),
    Entry("srv/api/balanced.ini", {"8080": FACTS, "/run/uwsgi/balanced.sock": FACTS},
          differs={"*: body.fields": ({"HTTP_X_FORWARDED_FOR": "127.0.0.1",
                                      "HTTP_X_FORWARDED_PROTO": "http"}, _ROUTER),
                   "8080 HEAD /: content-length": (ANY, _ROUTER)}),
    # Static files
    Entry(APPS + "static-site.ini", {
        "8080": (*files("/docs/words.txt", "/", "/index.html", "/docs/", "/docs", "/docs/data.json",
                        "/private/settings.py", "/docs/leaving", "/docs/none"),
                 *get("/docs/../private/settings.py", "/docs/%2e%2e/index.html"),
                 *get("/docs/words.txt", Range="bytes=0-4"))},
          differs=STATIC),
    Entry(APPS + "static-maps.ini", {
        "/run/uwsgi/maps.sock": (
            *files("/assets/js/app.js", "/assets/blog.css", "/assets/css/site.css",
                   "/docs/words.txt", "/docs/leaving", "/assets/none", "/assetsx", "/assets"),)},
          differs=STATIC),
    Entry(APPS + "static-accel.ini", {
        "/run/uwsgi/accel.sock": get("/protected/logo.svg", "/protected/none", "/")}),
    # Routes and headers
    Entry(APPS + "routes.ini", {
        "8080": (*get("/", "/healthz", "/static/x", "/old/a/b?c=1", "/gone", "/teapot",
                      "/x?debug=1", "/labelled"),
                 *get("/x?y=1", X_Forwarded_Proto="http"),
                 *get("/", User_Agent="A BadBot/1.0"), post("/form", b"x" * 1400),
                 post("/form", b"x" * 1600))},
          differs=TYPED),
    Entry(APPS + "routes-host.ini", {
        "/run/uwsgi/routes.sock": (
            *get("/a?b=1"), *get("/", "/admin", "/api/users?x=1", "/words.txt", "/v1/x",
                                 Host="www.shop.example"),
            *get("/admin", Host="www.shop.example", Authorization="Basic YWRtaW46c2VjcmV0"),
            *get("/admin", Host="www.shop.example", Authorization="Basic YWRtaW46d3Jvbmc="))},
          differs={
              **STATIC, **TYPED,
              **{f"/run/uwsgi/routes.sock GET / Host:www.shop.example: {what}":
                 (value, "static: with a directory is a 404; uWSGI closes without a word")
                 for what, value in {"status": 404, "reason": "Not Found",
                                     "body": "Not Found"}.items()}}),
    Entry(APPS + "guarded.ini", {
        address: (*get("/assets/css/site.css", "/api/assets/css/site.css", "/assets/js/app.js",
                       "/api/assets/js/app.js", "/assets/robots.txt", "/api/docs/words.txt",
                       "/a", "/api/a", "/b", "/api/b"),
                  *get("/assets/css/site.css", Authorization="Basic dGVhbTpzZWNyZXQ="))
        for address in ("8080", "/run/uwsgi/guarded.sock")}, differs={**STATIC, **TYPED}),
    Entry(APPS + "static-headers.ini", {
        "8080": get("/", "/api/x", "/favicon.ico", "/static/css/site.css", "/missing", "/moved")},
          differs=STATIC),
    # Emperors and their vassals
    Entry("etc/uwsgi/emperor.ini", {}, status=1, alone=_EMPEROR,
          refused={"emperor": _EMPEROR, "vassals-include": _EMPEROR}),
    Entry("etc/uwsgi/vassals/news.example.ini", {"/run/uwsgi/news.example.sock": FACTS}),
    Entry("etc/uwsgi/vassals/api.ini", {"/run/uwsgi/api.sock": FACTS}),
    Entry("srv/shop/folder.ini", {"/run/uwsgi/shop.sock": (
        *DJANGO, *files("/static/css/site.css"))},
          differs=STATIC),
    # The dialect
    Entry(APPS + "logic.ini", {"8080": FACTS}, env={"STAGE": "testing"}),
    Entry(APPS + "loops.ini", {"8080": FACTS}),
    Entry("srv/api/stages.ini:production", {"8080": FACTS}),
    Entry("srv/api/strict.ini", {"8080": FACTS}),
    Entry("srv/api/inherits.ini", {"/run/uwsgi/inherits.sock": FACTS}),
    # Operation
    Entry(APPS + "operation.ini", {"/run/uwsgi/operation.sock": FACTS},
          differs={"*: run/uwsgi/traceback.*":
                   (ANY, "workers start in their own order; uWSGI leaves these behind")}),
    Entry(APPS + "logs.ini", {"8080": FACTS}),
    Entry(APPS + "logto.ini", {"8080": FACTS}),
    Entry(APPS + "relative.ini", {"/run/uwsgi/relative.sock": FACTS}, directory="var/tmp"),
    Entry(APPS + "hooks.ini", {"/run/uwsgi/hooks/app.sock": FACTS}),
    Entry(APPS + "ondemand.ini", {"/run/uwsgi/ondemand.sock": FACTS}),
    Entry(APPS + "as-root.ini", {"/run/uwsgi/as-root.sock": FACTS}, root="root"),
    Entry("srv/api/python.ini", {"8080": FACTS}),
    Entry("srv/api/environment.ini", {"8080": FACTS},
          env={"UWSGI_HTTP_SOCKET": "127.0.0.1:8080", "UWSGI_MODULE": "facts",
               "UWSGI_CHDIR": "/srv/api", "UWSGI_PROCESSES": "2", "UWSGI_MASTER": "1"},
          arguments=("--set-placeholder", "stage=live")),
    Entry(APPS + "vhosts.ini", {
        "/run/uwsgi/vhosts.sock": (*get("/x", "/built/x", Host="news.example"),
                                   *get("/where", Host="blog.example"),
                                   *get("/", Host="other.example"))},
          differs={
              "*other.example: body": ("500 Internal Server Error\n", _OWN),
              "*other.example: content-type": ("text/plain; charset=utf-8", _OWN),
              "*/built/x*: body.path": ("/x", _HOST), "*/built/x*: body.script": ("/built", _HOST),
              "*/built/x*: x-prefix": ("built", _HOST)}),
    Entry(APPS + "errors.ini", {
        "8080": get("/api/x", "/secret", "/file", "/none", "/other", "/api/missing")},
          differs={f"8080 GET /file: {what}":
                   (value, "static: without a file is a 404; uWSGI closes without a word")
                   for what, value in {
                       "status": 404, "reason": "Not Found", "content-type": "text/html",
                       "body": "<!doctype html><title>404</title>we looked everywhere\n",
                   }.items()}),
    Entry("srv/api/catching.ini", {"8080": get("/", "/broken")},
          differs={"8080 GET /broken: body": (ANY, "a traceback as Python writes it"),
                   "8080 GET /broken: content-type": ("text/plain; charset=utf-8", _OWN)}),
    # What a web server in front says
    Entry("srv/shop/shop-script.ini", {"/run/shop/script.sock": (
        through("/shop/where?a=1", SCRIPT_NAME="/shop"), through("/shop", SCRIPT_NAME="/shop"),
        through("/shop/away", SCRIPT_NAME="/shop"), through("/api/x", SCRIPT_NAME="/api"),
        through("/other", SCRIPT_NAME="/other"), through("/where", SCRIPT_NAME=""),
        through("/shop/where", SCRIPT_NAME="/shop", HTTPS="on"))}),
    Entry("srv/api/fronted.ini", {"/run/uwsgi/fronted.sock": (
        *get("/"), through("/x", HTTPS="on"), through("/x", UWSGI_SCHEME="https"),
        through("/x", REQUEST_SCHEME="https"), through("/x", HTTP_X_FORWARDED_PROTO="https"),
        through("/x", HTTP_X_FORWARDED_SSL="on"), through("/x", REMOTE_USER="bob"),
        through("/x", SERVER_PORT="443"), through("/x", HTTPS="off"), through("/x", X_OWN="1"))}),
    Entry(APPS + "odds.ini", {"/run/uwsgi/odds.sock": (*FACTS, *get("/static/css/site.css"))},
          env={"SITE_GONE": "x"}, differs=STATIC),
)
