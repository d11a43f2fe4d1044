"""Archives: photographs by the million, wherever they lie, and what was found in them, in Parquet.

storage      a folder or a bucket, by its name
sources      folder, list, Parquet, bucket -> pieces of some hundred photographs; a piece -> their bytes
manifest     the pieces of an archive in a file, so that no process holds them all
shards       what was found in a piece: a Parquet file, written whole or not at all
search       which photographs have a dog and no person, best first
"""
