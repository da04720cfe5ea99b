/// SIMD loops over raw element buffers; no types of its own, no I/O.
public enum Kernels {}
