/// Samples that see every slice of a layout.
extension TensorSample {
  /// Runs from the start, the middle and the end of each piece of the layout, in evenly spaced rows: `limit` elements
  /// at most (three for each piece where there are more pieces than that), the whole tensor where it is small.
  ///
  /// Two layouts that put a slice in different places differ at the start or at the end of some piece, so a few runs
  /// tell them apart; a sample of whole rows alone would not reach the later ranks where tokens are sharded.
  init(layout: ShardLayout, limit: Int) {
    let shape = layout.shape
    let count = shape.reduce(1, *)
    self.init(shape: shape, limit: limit)
    guard count > limit, count > 0, let last = shape.indices.last else { return }
    let axis = layout.axis ?? last
    let inner = shape[(axis + 1)...].reduce(1, *)
    let width = shape[axis] * inner
    let outer = count / width
    if 2 * width <= limit {
      // Whole rows.
      rows = []
      let wanted = min(outer, limit / width)
      ranges = Self.merged(
        (0..<wanted).map { step in
          let row = step * outer / wanted
          return (row * width)..<((row + 1) * width)
        })
      return
    }
    rows = []
    let pieces = layout.axis == nil ? [shape[axis]] : layout.pieces.map(\.count).filter { $0 > 0 }
    let outers = min(outer, max(1, min(16, limit / (3 * max(1, pieces.count) * 16))))
    let budget = max(1, limit / (outers * 3 * max(1, pieces.count)))
    // Along the axis first, then along what stands inside one index of it.
    let run = inner == 1 ? budget : 1
    let depth = inner == 1 ? 1 : min(inner, budget)
    var chosen: [Range<Int>] = []
    for step in 0..<outers {
      let base = step * outer / outers * width
      var offset = 0
      for piece in pieces {
        defer { offset += piece }
        let length = min(run, piece)
        for start in Set([0, (piece - length) / 2, piece - length]).sorted() {
          let from = base + (offset + start) * inner
          chosen.append(from..<(from + (inner == 1 ? length : depth)))
        }
      }
    }
    ranges = Self.merged(chosen)
  }

  /// Ascending ranges, those that touch or overlap joined.
  private static func merged(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for range in ranges {
      if let last = result.last, last.upperBound >= range.lowerBound {
        result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }
}
