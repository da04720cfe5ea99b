/// The running sums of one pair of runs in eight lanes, a the target and b the reference.
///
/// Value i of a run goes to lane i mod 8, in ascending order, with a rounded product and a rounded sum (never fused).
/// So the bits depend neither on how a run is cut, nor on the vector width of the machine.
public struct PairLanes: Sendable {
  public var dot = SIMD8<Double>(repeating: 0)
  public var target = SIMD8<Double>(repeating: 0)
  public var reference = SIMD8<Double>(repeating: 0)
  /// Of (a-b)².
  public var difference = SIMD8<Double>(repeating: 0)
  /// max|a-b| and max|b| of what was added last. NaN is passed over.
  public var maxDifference = 0.0
  public var maxReference = 0.0

  public init() {}

  /// False where any value added was not finite (or its square has no double).
  public var isFinite: Bool { Self.folded(target).isFinite && Self.folded(reference).isFinite }

  /// The lanes of one sum added up: halves onto each other, three times.
  public static func folded(_ lanes: SIMD8<Double>) -> Double {
    let four = lanes.lowHalf + lanes.highHalf
    let two = four.lowHalf + four.highHalf
    return two.x + two.y
  }

  /// True where b's sum stands for a's and the product's, too: only equal values were added.
  @inline(__always)
  var isOfEqualValues: Bool { dot == reference && target == reference }
}

/// Element formats that the one-pass kernels read without a decoded copy.
public enum LaneFormat: Sendable, CaseIterable {
  case float64
  case float32
  case float16
  case bfloat16

  public var byteCount: Int {
    switch self {
    case .float64: 8
    case .float32: 4
    case .float16, .bfloat16: 2
    }
  }
}
