"""Every mistake raises an error that names the leaf or number at fault and the remedy."""
