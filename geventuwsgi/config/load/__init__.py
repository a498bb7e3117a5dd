"""The entry points: arguments, a Python call or a PasteDeploy section become settings.

Begin with `arguments.py`. Uses all other folders of `config`; `cli`, `boot` and `paste` use it.
"""
