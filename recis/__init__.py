"""Hooks for training recommenders, and the bridge that streams their metrics; import names from the submodules."""

from recis.installation import check_installation
from recis.wire.version import __version__ as __version__

check_installation()
