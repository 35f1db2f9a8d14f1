"""A whole store, decided folder by folder: one pure function over a few objects, a state that survives any death, and its table.

listing -> state (what is new) -> shards of whole folders -> `scan_shard` -> rows -> state -> Parquet
"""
