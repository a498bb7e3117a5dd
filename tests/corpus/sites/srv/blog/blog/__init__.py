"""A small Flask application with a factory."""

import os

from flask import Flask, Response, abort, jsonify, request, send_file


def create_app(name="blog"):
    app = Flask(__name__, static_folder=None)

    @app.get("/")
    def index():
        return Response(f"this is the {name}", mimetype="text/plain")

    @app.get("/where")
    def where():
        return jsonify(url=request.url, script=request.script_root,
                       path=request.path, query=request.query_string.decode(),
                       directory=os.getcwd(), stage=os.environ.get("STAGE"))

    @app.post("/form")
    def form():
        return jsonify(form=request.form.to_dict(), json=request.get_json(silent=True),
                       length=request.content_length), 201

    @app.get("/away")
    def away():
        response = Response(status=302, headers={"Location": "/where"})
        response.set_cookie("seen", "1", httponly=True)
        return response

    @app.get("/feed")
    def feed():
        return Response((f"data: {number}\n\n" for number in range(3)),
                        mimetype="text/event-stream")

    @app.get("/file")
    def file():
        return send_file(os.path.join(app.root_path, "post.txt"), conditional=True, etag=False)

    @app.get("/broken")
    def broken():
        raise RuntimeError("the blog broke as asked")

    @app.get("/teapot")
    def teapot():
        abort(Response("short and stout", status=418, mimetype="text/plain"))

    @app.errorhandler(404)
    def missing(_):
        return Response("no such post", status=404, mimetype="text/plain")

    @app.errorhandler(500)
    def sorry(_):
        return Response("sorry", status=500, mimetype="text/plain")

    return app
