from .add_relu_mean import add_relu_mean
from .depthwise_pair import depthwise_pair
from .fold import fold
from .weighted_sum import weighted_sum

__all__ = ['add_relu_mean', 'depthwise_pair', 'fold', 'weighted_sum']
