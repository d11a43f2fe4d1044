"""A detector over an archive: photographs by the million, in a folder, a bucket or Parquet, on one machine or many.

run           which pieces are still to do, and what is found in one, into its file; on this machine
ray_engine    the same on a Ray cluster: searching on its processors, detectors where they have the most
"""

from inception_rcnn.detector.archive.run import ArchiveRun, begin_run, detect_locally, keep_whole_pieces

__all__ = ["ArchiveRun", "begin_run", "detect_locally", "keep_whole_pieces"]
