"""The documentation: sphinx-build -W --keep-going -b html docs docs/_build/html

The pages of the reference are written from the package's public names (`reference.py`), and a
public name without documentation ends the build. The examples run while the site is built.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

import edmjax

reference.write_pages(Path(__file__).parent / "api")

project = "edmjax"
author = "the edmjax authors"
release = edmjax.__version__
html_title = f"edmjax {release}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = [
    "_build",
    "conf.py",
    "make",
    "reference.py",
    "docstrings.py",
    "percent.py",
    "examples/network.py",
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# The examples are scripts with cells marked by %%, so that no output is kept with the source.
nb_custom_formats = {".py": ["percent.read", {}]}
nb_execution_mode = "cache"
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and units
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # or a dataclass would describe each attribute twice


def setup(app):
    app.connect("autodoc-process-docstring", reference.as_rst, priority=100)  # before napoleon
