"""The documentation: Markdown pages by MyST, the reference by autodoc. ``make docs`` builds it into ``site/``."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # pages show what the CPU prints

import jax

import jaxbuffers

jax.Array.__qualname__ = "Array"  # it is documented as jax.Array, not as jax.jaxlib._jax.Array

project = "jaxbuffers"
author = "The jaxbuffers authors"
version = release = jaxbuffers.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "complete",  # these four are in docs/_extensions
    "executed",
    "names",
    "words",
]
exclude_patterns = ["_extensions"]

# Pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "replace"}  # what flax gives to every dataclass
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # docstrings give shapes and dtypes
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
default_role = "py:obj"

# Other projects, where their inventories can be reached: the site is built without a network, too.
_elsewhere = {
    "jax": "https://docs.jax.dev/en/latest/",
    "numpy": "https://numpy.org/doc/stable/",
    "python": "https://docs.python.org/3/",
}


def _reachable(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}objects.inv", timeout=3) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


intersphinx_mapping = {name: (address, None) for name, address in _elsewhere.items() if _reachable(address)}
intersphinx_timeout = 10

# The site
html_theme = "furo"
html_title = "jaxbuffers"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
