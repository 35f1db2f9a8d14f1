"""A corpus made on the spot: checkpoints of true scale whose data is a hole, and a few small real ones."""
