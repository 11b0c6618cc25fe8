"""Millions of images: one detector for Ray Data, Spark and Dask; folders and shards to Parquet."""
