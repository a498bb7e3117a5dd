"""The code between fork and worker: the template that loads the application, and its children.

Begin with `template.py`. The template is single-threaded and never runs a hub; only it
forks. `child.py` is what a forked process knows of itself. `boot` decides what is loaded
and what a child runs, and is the only importer.
"""
