import pytest
from vision_transformers import SMALL, VARIANTS

from mmdla.registry import MODELS


@pytest.fixture(params=VARIANTS)
def build(request):

    def builder(**kwargs):
        model = MODELS.build({**VARIANTS[request.param], **SMALL, **kwargs})
        model.init_weights()
        return model

    return builder
