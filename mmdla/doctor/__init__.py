"""``python -m mmdla.doctor``: whether this installation computes what it should, and how fast."""
