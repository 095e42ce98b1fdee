"""The Dask resources as frozen values: raw JSON ends here, and an error names the field."""
