"""The commands: each `tools/<name>.py` is `inception-rcnn <name>`; they parse, call and print, and compute nothing."""
