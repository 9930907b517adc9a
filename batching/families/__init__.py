"""Model families, torch-free: recognise a checkpoint, turn text into its token ids, turn raw scores into scores."""
