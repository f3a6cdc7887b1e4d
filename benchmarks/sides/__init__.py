"""Those who do the work: for each kind of comparison, a module that makes both sides."""
