"""The insonation fan: where it is in a frame, whatever stands beside it, and how well a sector explains it."""
