"""A running Dask scheduler: its RPC over a wire that unpickles nothing."""
