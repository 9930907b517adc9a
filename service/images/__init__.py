"""Images in requests: where they come from, what is refused, and the tiles they become. Pillow and the network are used nowhere else."""
