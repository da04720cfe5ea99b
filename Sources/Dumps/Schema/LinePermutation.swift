/// Rows or columns of one tensor that stand in another order in a second one.
struct LinePermutation: Hashable {
  enum Axis: String, Hashable {
    case rows
    case columns
  }

  var axis: Axis
  /// For each line of the target, the reference's line that it equals.
  var sources: [Int]

  /// Lines of each axis at most: a hash of each is kept.
  private static let lineLimit = 1 << 22

  /// Looks for one order of whole rows, then of whole columns. The last dimension makes the columns, all others the
  /// rows.
  static func find(reference: Tensor, target: Tensor) throws(DumpError) -> LinePermutation? {
    guard let a = try LineHashes(reference), let b = try LineHashes(target) else { return nil }
    if let sources = sources(a.rows, b.rows) { return LinePermutation(axis: .rows, sources: sources) }
    if let sources = sources(a.columns, b.columns) { return LinePermutation(axis: .columns, sources: sources) }
    return nil
  }

  private static func sources(_ reference: [UInt64], _ target: [UInt64]) -> [Int]? {
    guard reference.count > 1, reference.count == target.count else { return nil }
    // Equal lines are taken in their order, but those that stand in their place stay there.
    var free: [UInt64: [Int]] = [:]
    for (i, hash) in reference.enumerated().reversed() where target[i] != hash { free[hash, default: []].append(i) }
    var result: [Int] = []
    result.reserveCapacity(target.count)
    for (i, hash) in target.enumerated() {
      if reference[i] == hash {
        result.append(i)
      } else if let source = free[hash]?.popLast() {
        result.append(source)
      } else {
        return nil
      }
    }
    return result
  }

  private struct LineHashes {
    var rows: [UInt64]
    var columns: [UInt64]

    init?(_ tensor: Tensor) throws(DumpError) {
      let width = tensor.shape.count < 2 ? 1 : tensor.shape[tensor.shape.count - 1]
      guard width > 0, tensor.elementCount > 0 else { return nil }
      let height = tensor.elementCount / width
      guard width <= lineLimit, height <= lineLimit else { return nil }
      (rows, columns) = ([UInt64](repeating: 0, count: height), [UInt64](repeating: 0, count: width))
      let reader = try TensorReader(tensor)
      let step = TensorReader.blockBytes / tensor.dtype.byteCount
      var bytes: [UInt8] = []
      var (row, column) = (0, 0)
      var start = 0
      while start < reader.elementCount {
        let end = min(start + step, reader.elementCount)
        try reader.read(start..<end, into: &bytes)
        rows.withUnsafeMutableBufferPointer { rows in
          columns.withUnsafeMutableBufferPointer { columns in
            bytes.forEachElement(tensor.dtype.byteCount) { bits in
              let hash = bits.mixed
              // Each place has a weight of its own, so that the order along the line counts.
              rows[row] = rows[row] &* 0x2545_F491_4F6C_DD1D &+ hash
              columns[column] = columns[column] &* 0x2545_F491_4F6C_DD1D &+ hash
              column += 1
              if column == width { (row, column) = (row + 1, 0) }
            }
          }
        }
        start = end
      }
    }
  }

  /// What the order is known as.
  enum Pattern: Hashable {
    case halvesSwapped
    /// Lines of the two halves in turn, or that undone.
    case interleaved
    /// The same inside every group of so many lines.
    case interleavedInGroups(of: Int)
    /// Blocks of equal size.
    case blocks([Int])
    case other(runs: Int)
  }

  var pattern: Pattern {
    let count = sources.count
    let starts = sources.indices.filter { $0 == 0 || sources[$0] != sources[$0 - 1] + 1 }
    // The largest block that no run's end cuts.
    let size = starts.reduce(count) { Self.greatestCommonDivisor(Self.greatestCommonDivisor($0, $1), sources[$1]) }
    if starts.count > 1, count / size <= 64, size > 1 || count <= 8 {
      let blocks = Swift.stride(from: 0, to: count, by: size).map { sources[$0] / size }
      return blocks == [1, 0] ? .halvesSwapped : .blocks(blocks)
    }
    if let group = group, Self.isInterleaving(sources[..<group]) {
      return group == count ? .interleaved : .interleavedInGroups(of: group)
    }
    return .other(runs: starts.count)
  }

  private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }

  /// The least number of lines, at least 4, that the order never leaves and repeats.
  private var group: Int? {
    let count = sources.count
    guard count >= 4 else { return nil }
    return (4...count).first { size in
      guard count.isMultiple(of: size), size == count || size.isMultiple(of: 2) else { return false }
      return sources.indices.allSatisfy { i in
        sources[i] == sources[i % size] + i / size * size && sources[i % size] < size
      }
    }
  }

  private static func isInterleaving(_ sources: ArraySlice<Int>) -> Bool {
    let half = sources.count / 2
    guard sources.count == 2 * half else { return false }
    return sources.indices.allSatisfy { sources[$0] == ($0 % 2) * half + $0 / 2 }
      || sources.indices.allSatisfy { sources[$0] == ($0 < half ? 2 * $0 : 2 * ($0 - half) + 1) }
  }
}
