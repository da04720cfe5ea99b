public import TensorLanes

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

#if WIDE_TWINS
  import TensorKernelsAVX2
  import TensorKernelsAVX512
#endif

extension Kernels {
  /// Adds a run of pairs to `lanes`, in one pass over both sides as they stand in the file.
  ///
  /// The result has the same bits on every instruction set.
  public static func addPairs(_ format: LaneFormat, _ run: PairRun, to lanes: inout PairLanes) {
    addPairs(format, run, to: &lanes, on: .current)
  }

  package static func addPairs(
    _ format: LaneFormat, _ run: PairRun, to lanes: inout PairLanes, on instructions: InstructionSet
  ) {
    guard run.count > 0 else { return }
    switch instructions {
    case .baseline: PairLoops.add(format, run, to: &lanes)
    #if WIDE_TWINS
      case .avx2: TensorKernelsAVX2.PairLoops.add(format, run, to: &lanes)
      case .avx512: TensorKernelsAVX512.PairLoops.add(format, run, to: &lanes)
    #endif
    }
  }

  /// True where both sides are the same bytes.
  public static func areEqual(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, byteCount: Int) -> Bool {
    memcmp(left, right, byteCount) == 0
  }
}
