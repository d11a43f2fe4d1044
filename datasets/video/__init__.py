"""A video or a camera as frames, frames as a video, and boxes followed from frame to frame."""

from inception_rcnn.datasets.video.frames import VideoFrames, VideoWriter, is_video
from inception_rcnn.datasets.video.tracks import Tracker, TrackSettings

__all__ = ["TrackSettings", "Tracker", "VideoFrames", "VideoWriter", "is_video"]
