"""The module that an application imports as `uwsgi`.

`import uwsgi` fails outside of uWSGI, and libraries use exactly that to find out where
they run; so the module is made in the processes of a server alone. It has what files of
real deployments use; names that are not here are missing, not pretended.
"""
