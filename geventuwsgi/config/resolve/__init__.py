"""Lines become settings: cast, ordered, checked against each other, with defaults.

Begin with `resolve.py`; the others are its steps.
"""
