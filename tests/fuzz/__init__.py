"""What bytes and names from anywhere may do to a reader: be refused with a documented error, and nothing else.

`targets` says what each parser promises. Hypothesis tries that in every run of the tests, and more of it on the deep
profile; `python -m tests.fuzz --cases 1000000` lets atheris search, guided by what it covers.
"""
