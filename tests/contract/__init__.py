"""One contract for all views and samplers."""
