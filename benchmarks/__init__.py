"""How long things take, side by side with the raw limit in one run: ratios, since machines differ and are noisy."""
