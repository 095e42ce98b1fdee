"""What any controller needs and nothing of Dask: queue, loop, expectations, election, recorder."""
