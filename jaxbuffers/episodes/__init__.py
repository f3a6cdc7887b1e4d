"""Whole episodes outside of the device, on disk or in memory."""
