"""Random configurations and random lives, against a model in plain lists that shares nothing with the library."""
