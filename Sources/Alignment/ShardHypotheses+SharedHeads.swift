/// Heads that several ranks hold, where both sides are sharded and neither has the whole.
extension ShardHypotheses {
  /// Layouts of two sides with one logical shape.
  struct SharedHeads {
    var left: ShardLayout
    var right: ShardLayout
    /// The same blocks and order of ranks with fewer copies are another reading of it: what copies would hold is then
    /// counted as if it were other heads'.
    var form: Form

    struct Form: Hashable {
      var axis: Int
      var left: [Int]
      var right: [Int]
      var isStrided: Bool
    }
  }

  /// Pairs whose blocks (k; k and v; q, k and v) are as wide on both sides, the most copies first.
  static func sharedHeads(_ left: [[Int]], _ right: [[Int]]) -> [SharedHeads] {
    guard let first = left.first, let other = right.first, left.count > 1, right.count > 1, left.count != right.count,
      first.count == other.count, left.allSatisfy({ $0 == first }), right.allSatisfy({ $0 == other })
    else { return [] }
    let axes = first.indices.filter { axis in
      first.indices.allSatisfy { $0 == axis || first[$0] == other[$0] }
    }
    return axes.flatMap { axis -> [SharedHeads] in
      let rights = Reading.all(right, axis)
      return Reading.all(left, axis).flatMap { mine in
        rights.filter { $0.widths == mine.widths && max($0.copies, mine.copies) > 1 }.flatMap { theirs in
          // Only heads of their own lie on strided ranks.
          (mine.weights.count == 1 && theirs.weights.count == 1 ? [false, true] : [false]).compactMap { isStrided in
            guard let left = mine.layout(left, axis, isStrided: isStrided),
              let right = theirs.layout(right, axis, isStrided: isStrided)
            else { return nil }
            return SharedHeads(
              left: left, right: right,
              form: .init(axis: axis, left: mine.weights, right: theirs.weights, isStrided: isStrided))
          }
        }
      }
    }
    .sorted { max($0.left.most, $0.right.most) > max($1.left.most, $1.right.most) }
  }

  /// One way to read the ranks' tensors of one side.
  private struct Reading {
    /// A rank's blocks, relative.
    var weights: [Int]
    /// Neighbouring ranks that hold the same, of all blocks but the queries.
    var copies: Int
    /// Logical widths of the blocks.
    var widths: [Int]

    static func all(_ shapes: [[Int]], _ axis: Int) -> [Reading] {
      let (ranks, width) = (shapes.count, shapes[0][axis])
      return ([[1], [1, 1]] + queryRatios.map { [$0, 1, 1] }).flatMap { weights -> [Reading] in
        let total = weights.reduce(0, +)
        guard width % total == 0 else { return [] }
        return (1...ranks).filter { ranks % $0 == 0 }.map { copies in
          let widths = weights.enumerated().map { index, weight in
            weight * width / total * ranks / (index == 0 && weights.count == 3 ? 1 : copies)
          }
          return Reading(weights: weights, copies: copies, widths: widths)
        }
      }
    }

    func layout(_ shapes: [[Int]], _ axis: Int, isStrided: Bool) -> ShardLayout? {
      if weights.count == 1 {
        return copies == 1
          ? .concat(shapes, axis: axis)
          : .replicatedSlices(shapes, axis: axis, copies: copies, isStrided: isStrided)
      }
      if copies == 1 { return .blocks(shapes, axis: axis, weights: weights) }
      let own = weights.enumerated().map { index, weight in
        (weight: weight, copies: index == 0 && weights.count == 3 ? 1 : copies)
      }
      return .fusedCopies(shapes, axis: axis, blocks: own)
    }
  }
}

extension ShardLayout {
  /// The most ranks that hold the same.
  fileprivate var most: Int { copies.map(\.count).max() ?? 1 }
}
