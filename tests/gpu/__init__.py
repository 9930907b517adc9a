"""What only a CUDA device can show: its kernels' parity, that a launch waits for nothing, that exhausted memory is survived."""
