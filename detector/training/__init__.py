"""Training a region classifier, or the network that proposes: images with ground truth -> a checkpoint.

`fine_tuning.py` and `proposal_network.py` are what the commands call.
"""

from inception_rcnn.detector.training.fine_tuning import OptionError, TrainingOptions, train_detector
from inception_rcnn.detector.training.proposal_network import train_multibox

__all__ = ["OptionError", "TrainingOptions", "train_detector", "train_multibox"]
