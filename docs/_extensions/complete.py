"""Fails the build if the reference leaves out a public name."""

from public_names import public_names
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    for name in sorted(public_names() - set(env.domaindata["py"]["objects"])):
        LOGGER.warning(f"the reference does not document {name}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True}
