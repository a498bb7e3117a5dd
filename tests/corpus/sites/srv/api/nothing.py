"""A module that has no application."""

NAME = "nothing"
