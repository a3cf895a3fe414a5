"""Unfused work: what one fused kernel does in one pass over memory."""
