"""Lines become settings: cast, ordered, checked against each other, completed with defaults.

Begin with `resolve.py`; the other modules are its steps.
"""
