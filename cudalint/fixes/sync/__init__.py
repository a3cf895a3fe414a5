"""Fixes of hot code that makes the host wait for the device."""
