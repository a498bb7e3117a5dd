"""What Django calls this application; a project may have one named `django`."""

from django.apps import AppConfig


class GeventuwsgiConfig(AppConfig):
    """The application that holds the command, without models."""

    name = "geventuwsgi.django"
    label = "geventuwsgi"
    verbose_name = "geventuwsgi"
