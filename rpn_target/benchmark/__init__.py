"""GluonCV and this package side by side: the same seeded data, in one process, in turns.

`cases` makes the data, `steps` says what is run on each side, `measure` runs it, `loaders` does
the same for whole DataLoaders, and `table` shows the result.
"""
