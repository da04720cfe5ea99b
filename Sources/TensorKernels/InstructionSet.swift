import CKernels

/// The instruction sets that the loops are compiled for.
package enum InstructionSet: Int, Sendable, CaseIterable {
  /// What every processor of the architecture has: SSE2 on x86-64, NEON on arm64.
  case baseline
  #if WIDE_TWINS
    /// With FMA and F16C.
    case avx2
    /// F, BW, CD, DQ and VL.
    case avx512
  #endif

  /// The widest that this machine runs.
  package static let current = available.last ?? .baseline

  /// Those that this machine runs, narrowest first.
  package static let available: [InstructionSet] = {
    let level = Int(kernels_cpu_level())
    return allCases.filter { $0.rawValue <= level }
  }()
}
