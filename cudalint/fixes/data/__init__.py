"""Fixes of the input pipeline and of transfers to the device."""
