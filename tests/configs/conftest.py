import pytest
from our_configs import WithoutMemory


@pytest.fixture
def without_memory():
    with WithoutMemory():
        yield
