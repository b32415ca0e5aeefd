"""Networks by name, without a config: ``mmdla.list_models`` and ``mmdla.create_model``."""
