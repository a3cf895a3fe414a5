"""What is found about numerics: masks, reductions, losses."""
