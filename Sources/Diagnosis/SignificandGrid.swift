/// How coarse the grid is that a tensor's values lie on, whatever their scales: how many significands a short run uses.
///
/// A float8 value is one of eight significands (e4m3; four for e5m2, two for float4) times a power of two, and the scale
/// of its block multiplies all alike. So neighbours that share a scale have at most eight different significands, also
/// after they were stored as bfloat16 again; values that were never quantised use about 28 in a run of 32.
public struct SignificandGrid: Sendable, Hashable, Codable {
  /// Values of a run: the shortest block with a scale of its own in use (microscaling formats).
  public static let run = 32

  /// Different significands in the run that stands in the middle.
  public var significands: Int

  /// - Parameters:
  ///   - values: rows one after the other.
  ///   - rowLength: a run does not go beyond its row.
  /// - Returns: nil where fewer than four runs hold at least 24 finite values that are not 0.
  public init?(_ values: [Double], rowLength: Int) {
    guard rowLength >= Self.run else { return nil }
    var counts: [Int] = []
    for row in stride(from: 0, to: values.count, by: rowLength) {
      let end = min(row + rowLength, values.count)
      for start in stride(from: row, through: end - Self.run, by: Self.run) {
        let known = values[start..<(start + Self.run)].filter { $0.isFinite && $0 != 0 }
        if known.count >= 24 { counts.append(Set(known.map(\.significandBitPattern)).count) }
      }
    }
    guard counts.count >= 4 else { return nil }
    significands = counts.sorted()[counts.count / 2]
  }

  /// As after a rounding to a type of 8 bits or fewer.
  public var isCoarse: Bool { significands <= 8 }
  /// As of values that no such rounding has touched.
  public var isFine: Bool { significands >= 20 }
}

/// The grids of both sides.
public struct SideGrids: Sendable, Hashable, Codable {
  public var reference: SignificandGrid
  public var target: SignificandGrid

  public init(reference: SignificandGrid, target: SignificandGrid) {
    self.reference = reference
    self.target = target
  }

  /// One side was quantised and the other was not.
  public var differ: Bool {
    target.isCoarse && reference.isFine || target.isFine && reference.isCoarse
  }

  /// In words; for grids that differ.
  public var why: String {
    let (coarse, fine) = target.isCoarse ? ("target", "reference") : ("reference", "target")
    let (few, many) = target.isCoarse ? (target, reference) : (reference, target)
    return "the \(coarse)'s values lie on the grid of a quantised type (\(few.significands) significands in "
      + "\(SignificandGrid.run) neighbours) and the \(fine)'s do not (\(many.significands))"
  }
}
