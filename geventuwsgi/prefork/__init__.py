"""The code between fork and worker: a template that loads once and forks, and its children.

Begin with `template.py`. The template is single-threaded, never runs a hub and waits with
unpatched calls; only it forks. `boot` says what to load and what a child runs.
"""
