"""The loader: reproducible batches, in any number of workers and on any number of ranks."""
