import TensorKernels
import TensorLanes

/// What `Kernels.addPairs` is defined to give, one value after another.
struct PairModel {
  private var lanes = Array(repeating: Array(repeating: 0.0, count: 32), count: 5)
  var largestDifference = 0.0
  var largestDifferenceIndex: Int?
  var largestReference = 0.0
  var nonfiniteTarget = 0
  var nonfiniteReference = 0

  /// - Parameter floor: what `largestDifference` must exceed.
  init(target: [Double], reference: [Double], lane: Int = 0, floor: Double = 0) {
    largestDifference = floor
    for (index, (a, b)) in zip(target, reference).enumerated() {
      let lane = (lane + index) % 32
      let difference = (a - b).magnitude
      lanes[0][lane] += a * b
      lanes[1][lane] += a * a
      lanes[2][lane] += b * b
      lanes[3][lane] += difference * difference
      lanes[4][lane] += difference
      if difference > largestDifference {
        largestDifference = difference
        largestDifferenceIndex = index
      }
      if b.magnitude > largestReference { largestReference = b.magnitude }
      if !a.isFinite { nonfiniteTarget += 1 }
      if !b.isFinite { nonfiniteReference += 1 }
    }
  }

  /// Bits of the five sums; NaN is one and the same.
  var bits: [UInt64] {
    lanes.map { lanes in
      var lanes = lanes
      while lanes.count > 1 {
        let half = lanes.count / 2
        lanes = (0..<half).map { lanes[$0] + lanes[half + $0] }
      }
      return PairModel.bits(lanes[0])
    }
  }

  static func bits(_ value: Double) -> UInt64 { value.isNaN ? 0 : value.bitPattern }
}

extension PairLanes {
  var bits: [UInt64] {
    let sums = sums
    return [sums.dot, sums.target, sums.reference, sums.difference, sums.magnitude].map(PairModel.bits)
  }
}
