"""What is written instead about numerics: masks, reductions, losses."""
