"""Modules that tests import, run and compare."""
