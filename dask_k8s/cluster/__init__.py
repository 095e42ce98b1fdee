"""A Dask cluster from Python: made, connected, scaled and taken away again."""
