"""The evaluation set-ups of the paper's release: what they are (`table`), and the one engine that runs them."""
