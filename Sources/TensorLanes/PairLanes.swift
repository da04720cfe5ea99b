/// The running sums of one row of pairs in 32 lanes, a the target and b the reference, and what the run added
/// last has shown.
///
/// Value i of a row goes to lane i mod 32, in ascending order, with a rounded product and a rounded sum. So the
/// bits depend neither on how a row is cut into runs, nor on the vector width of the machine.
public struct PairLanes: Sendable {
  /// Which of the sums stand.
  public enum Contents: Sendable {
    /// None: all are 0, whatever the lanes hold.
    case nothing
    /// Of equal values alone: `reference` is all three, and there is no difference.
    case equalValues
    case pairs
  }

  public var contents = Contents.nothing
  public var dot = Lanes32()
  public var target = Lanes32()
  public var reference = Lanes32()
  /// Of (a-b)².
  public var difference = Lanes32()
  /// Of |a-b|.
  public var magnitude = Lanes32()

  /// max|a-b|: a run may only raise what stands here. NaN is passed over.
  public var largestDifference = 0.0
  /// Value of the run at which `largestDifference` was reached first; nil where the run did not raise it.
  public var largestDifferenceIndex: Int?
  /// max|b| of the run. NaN is passed over.
  public var largestReference = 0.0
  /// Bytes, and elements, of the run that are not the same bits.
  public var unequalBytes = 0
  public var unequalElements = 0
  /// Values of the run that are NaN or infinite.
  public var nonfiniteTarget = 0
  public var nonfiniteReference = 0

  public init() {}

  /// Each sum with its lanes added up.
  public var sums: PairSums {
    switch contents {
    case .nothing: return PairSums()
    case .equalValues:
      let sum = reference.folded
      return PairSums(dot: sum, target: sum, reference: sum, difference: 0, magnitude: 0)
    case .pairs:
      return PairSums(
        dot: dot.folded, target: target.folded, reference: reference.folded, difference: difference.folded,
        magnitude: magnitude.folded)
    }
  }
}

/// One sum in 32 lanes.
public struct Lanes32: Sendable {
  public var low = SIMD16<Double>(repeating: 0)
  public var high = SIMD16<Double>(repeating: 0)

  public init() {}

  /// The lanes added up: halves onto each other, five times.
  public var folded: Double {
    let sixteen = low + high
    let eight = sixteen.lowHalf + sixteen.highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two.x + two.y
  }
}

/// The sums over pairs (a, b), a the target and b the reference.
public struct PairSums: Sendable, Hashable {
  /// Of a·b.
  public var dot = 0.0
  /// Of a².
  public var target = 0.0
  /// Of b².
  public var reference = 0.0
  /// Of (a-b)².
  public var difference = 0.0
  /// Of |a-b|.
  public var magnitude = 0.0

  public init() {}

  init(dot: Double, target: Double, reference: Double, difference: Double, magnitude: Double) {
    self.dot = dot
    self.target = target
    self.reference = reference
    self.difference = difference
    self.magnitude = magnitude
  }

  public static func += (left: inout PairSums, right: PairSums) {
    left.dot += right.dot
    left.target += right.target
    left.reference += right.reference
    left.difference += right.difference
    left.magnitude += right.magnitude
  }
}
