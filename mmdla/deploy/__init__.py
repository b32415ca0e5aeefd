"""Trained networks as ONNX files (``networks``, ``export``) and what runs them (``runtime``)."""
