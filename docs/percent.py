"""Reads the examples: Python scripts whose cells begin with %%."""

import jupytext


def read(text):
    """The notebook of a script, said to be Python: the scripts have no header that would say so."""
    notebook = jupytext.reads(text, fmt="py:percent")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.update(kernelspec=kernel, language_info={"name": "python"})
    return notebook
