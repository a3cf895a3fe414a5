"""Packages of models that others wrote: what the fusion rules find there, and whether fixes agree."""
