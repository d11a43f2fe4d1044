"""A detector behind HTTP: a page to walk through its stages, `POST /detect` for programs, health and figures.

`app.py` has the addresses, `stages.py` what the page is told of a photograph, `admission.py` who is let in.
"""
