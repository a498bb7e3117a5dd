"""A Django application: INSTALLED_APPS += ["geventuwsgi.django"] adds `manage.py rungeventuwsgi`.

Django is imported here and nowhere else. The command replaces its process by the server, which
loads the project again. Begin with `project`.
"""
