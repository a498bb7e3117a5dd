"""The pages of the shop."""

import os

from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def index(request):
    return HttpResponse("the shop is open", content_type="text/plain")


def where(request):
    return JsonResponse({
        "url": request.build_absolute_uri(), "path": request.path, "info": request.path_info,
        "script": request.META.get("SCRIPT_NAME", ""), "secure": request.is_secure(),
        "query": request.META["QUERY_STRING"], "directory": os.getcwd(),
        "secret": os.environ.get("SECRET_KEY"), "stage": os.environ.get("STAGE")})


@csrf_exempt
def form(request):
    return JsonResponse({"method": request.method, "form": request.POST.dict()}, status=201)


def away(request):
    response = HttpResponseRedirect("/where?from=away")
    response.set_cookie("seen", "1", path="/", httponly=True)
    return response


def feed(request):
    return StreamingHttpResponse((f"{number}\n" for number in range(3)),
                                 content_type="text/plain")


def broken(request):
    raise RuntimeError("the shop broke as asked")


def missing(request, exception):
    return HttpResponse("no such page", status=404, content_type="text/plain")


def sorry(request):
    return HttpResponse("sorry", status=500, content_type="text/plain")


handler404 = missing
handler500 = sorry
urlpatterns = [path("", index), path("where", where), path("form", form), path("away", away),
               path("feed", feed), path("broken", broken), path("slashed/", index)]
