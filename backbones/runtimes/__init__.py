"""The networks computed by others than torch's own operations: as files, by OpenVINO, by Triton, as CUDA graphs."""
