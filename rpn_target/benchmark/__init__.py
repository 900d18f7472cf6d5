"""GluonCV and this package side by side: the same seeded data, in one process, in turns.

`cases` makes the data; `steps` measures single steps, `loaders` whole DataLoaders and the
hand-over of batches, both with what is in `measure`; `table` shows the results.
"""
