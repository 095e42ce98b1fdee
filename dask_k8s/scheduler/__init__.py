"""A running Dask scheduler, spoken to as a stranger: frames within bounds, nothing unpickled, numbers checked."""
