"""Types of values: how a text becomes a value, what is wrong with it, and where it was set."""
