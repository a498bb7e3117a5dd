"""A Django application: INSTALLED_APPS += ["geventuwsgi.django"] gives `manage.py rungeventuwsgi`.

The rules of this room: Django is imported here and nowhere else, and nothing but the entry
points of a project is: the server that the command becomes loads the project anew.
"""
