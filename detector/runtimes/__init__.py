"""Ways to compute a detector's networks: the chain and the warp on a GPU, and the parts that ONNX and OpenVINO take."""
