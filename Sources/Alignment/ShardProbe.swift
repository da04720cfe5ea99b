import Dumps

/// Reads samples of candidate layouts and says how far they are from the reference. Counts what it reads.
struct ShardProbe {
  typealias Sides = (reference: LogicalTensor, target: LogicalTensor)

  /// Elements read so far, of both sides; a sum counts each of its terms.
  private(set) var elementsRead = 0
  private var references: [Key: [Double]] = [:]

  private struct Key: Hashable {
    var layout: ShardLayout
    var ranges: [Range<Int>]
  }

  /// How far the target is from the reference, where both are finite.
  struct Distance {
    /// |a - b| / |b|; infinite where fewer than half of the values are finite.
    var relL2: Double
    /// The same after the best scale, |a - alpha b| / |a|.
    var scaleFree: Double

    static let none = Distance(relL2: .infinity, scaleFree: .infinity)
  }

  mutating func distance(_ sides: Sides, limit: Int) throws -> Distance {
    let sample = TensorSample(layout: sides.target.layout, limit: limit)
    return Self.distance(try values(sides.target, sample), try reference(sides.reference, sample))
  }

  static func distance(_ target: [Double], _ reference: [Double]) -> Distance {
    var (dot, own, square, difference) = (0.0, 0.0, 0.0, 0.0)
    var finite = 0
    for index in 0..<min(target.count, reference.count) {
      let (a, b) = (target[index], reference[index])
      guard a.isFinite, b.isFinite else { continue }
      finite += 1
      dot += a * b
      own += a * a
      square += b * b
      difference += (a - b) * (a - b)
    }
    guard 2 * finite >= target.count, finite > 0 || target.isEmpty else { return .none }
    let relL2 = difference == 0 ? 0 : (difference / square).squareRoot()
    let left = square > 0 ? max(0, own - dot * dot / square) : own
    let scaleFree = own > 0 ? (left / own).squareRoot() : (square > 0 ? 1 : 0)
    return Distance(
      relL2: relL2.isNaN ? .infinity : relL2, scaleFree: scaleFree.isNaN ? .infinity : min(1, scaleFree))
  }

  /// The slices' best order: each rank's slice is tried in each place, one rotation of the ranks at a time.
  ///
  /// - Returns: nil where the layout has no slices that could change places.
  mutating func rankOrder(_ sides: Sides, limit: Int) throws -> RankOrder? {
    let layout = sides.target.layout
    guard layout.axis != nil, layout.inner.isEmpty, layout.kind != .partial else { return nil }
    var parts: [Int] = []
    for piece in layout.pieces where !parts.contains(piece.part) { parts.append(piece.part) }
    guard parts.count > 1, parts.allSatisfy({ sides.target.parts[$0].shape == sides.target.parts[parts[0]].shape })
    else { return nil }
    let places = Dictionary(uniqueKeysWithValues: parts.enumerated().map { ($0.element, $0.offset) })
    let sample = TensorSample(layout: layout, limit: limit)
    let reference = try reference(sides.reference, sample)
    let owners = owners(of: sample, layout, places: places, unit: sides.target.dtype.valuesPerElement)
    guard owners.count == reference.count else { return nil }
    var best: [(source: Int, difference: Double)] = Array(repeating: (0, .infinity), count: parts.count)
    for rotation in parts.indices {
      var turned = sides.target
      for index in turned.layout.pieces.indices {
        let place = places[layout.pieces[index].part] ?? 0
        turned.layout.pieces[index].part = parts[(place + rotation) % parts.count]
      }
      let target = try values(turned, sample)
      var differences = Array(repeating: 0.0, count: parts.count)
      for index in target.indices {
        let difference = target[index] - reference[index]
        if difference.isFinite { differences[owners[index]] += difference * difference }
      }
      for place in parts.indices where differences[place] < best[place].difference {
        best[place] = ((place + rotation) % parts.count, differences[place])
      }
    }
    let size = reference.reduce(0) { $0 + ($1.isFinite ? $1 * $1 : 0) }
    guard size > 0 else { return nil }
    return RankOrder(
      sources: best.map(\.source), residual: (best.reduce(0) { $0 + $1.difference } / size).squareRoot())
  }

  /// The place whose slice each sampled value belongs to.
  private func owners(of sample: TensorSample, _ layout: ShardLayout, places: [Int: Int], unit: Int) -> [Int] {
    guard let axis = layout.axis else { return [] }
    let inner = layout.shape[(axis + 1)...].reduce(1, *)
    var byIndex: [Int] = []
    byIndex.reserveCapacity(layout.shape[axis])
    for piece in layout.pieces {
      byIndex += Array(repeating: places[piece.part] ?? 0, count: piece.count)
    }
    let width = layout.shape[axis] * inner
    guard width > 0 else { return [] }
    var owners: [Int] = []
    owners.reserveCapacity(sample.elementCount * unit)
    for range in sample.ranges {
      for element in range {
        let owner = byIndex[element % width / inner]
        for _ in 0..<unit { owners.append(owner) }
      }
    }
    return owners
  }

  /// True where the sampled bytes of all these ranks are the same.
  mutating func areEqual(_ tensors: [Tensor], limit: Int) throws -> Bool {
    guard let first = tensors.first, tensors.allSatisfy({ $0.shape == first.shape && $0.dtype == first.dtype }) else {
      return false
    }
    let sample = TensorSample(layout: .whole(first.shape, kind: .single), limit: limit)
    let head = try TensorReader(first)
    var left: [UInt8] = []
    var right: [UInt8] = []
    for tensor in tensors.dropFirst() {
      let reader = try TensorReader(tensor)
      for range in sample.ranges {
        try head.read(range, into: &left)
        try reader.read(range, into: &right)
        elementsRead += 2 * range.count
        if left != right { return false }
      }
    }
    return true
  }

  /// What stands in the padding of a layout: all of it is read, since one value can win an argmax.
  func padding(_ tensor: LogicalTensor, limit: Int) throws -> ShardPadding? {
    let layout = tensor.layout
    guard let axis = layout.axis, layout.inner.isEmpty, !layout.padding.isEmpty else { return nil }
    var result = ShardPadding(
      axis: axis, count: layout.padding.reduce(0) { $0 + $1.count }, isEmpty: true, largest: -.infinity, rowsWon: 0,
      rows: 0)
    var block: [Double] = []
    for piece in layout.padding where piece.count > 0 {
      guard let view = tensor.parts[piece.part].narrowed(axis: axis, start: piece.start, count: piece.count)
      else { continue }
      let reader = try TensorReader(view)
      for start in stride(from: 0, to: reader.elementCount, by: limit) {
        try reader.readDoubles(start..<min(start + limit, reader.elementCount), into: &block)
        for value in block {
          if value != 0, value != -.infinity { result.isEmpty = false }
          result.largest = value.isNaN || result.largest.isNaN ? .nan : max(result.largest, value)
        }
      }
    }
    guard axis == layout.shape.count - 1, tensor.dtype.valuesPerElement == 1 else { return result }
    var padded = layout
    padded.pieces = layout.padding
    padded.shape[axis] = result.count
    let fill = try LogicalTensor(parts: tensor.parts, layout: padded, place: "padding")
    let width = layout.shape[axis]
    let rows = layout.shape.dropLast().reduce(1, *)
    guard width > 0, rows > 0 else { return result }
    var (real, extra) = (try tensor.makeReader(), try fill.makeReader())
    var bytes: [UInt8] = []
    var extraValues: [Double] = []
    let count = max(1, min(rows, limit / width))
    for step in 0..<count {
      let row = step * rows / count
      try real.read((row * width)..<((row + 1) * width), bytes: &bytes, values: &block)
      try extra.read((row * result.count)..<((row + 1) * result.count), bytes: &bytes, values: &extraValues)
      result.rows += 1
      if (extraValues.max() ?? -.infinity) > (block.max() ?? -.infinity) { result.rowsWon += 1 }
    }
    return result
  }

  // MARK: reading

  private mutating func reference(_ tensor: LogicalTensor, _ sample: TensorSample) throws -> [Double] {
    let key = Key(layout: tensor.layout, ranges: sample.ranges)
    if let known = references[key] { return known }
    let values = try values(tensor, sample)
    // One sample of each kind of layout, small ones only.
    if values.count <= 1 << 16 { references[key] = values }
    return values
  }

  private mutating func values(_ tensor: LogicalTensor, _ sample: TensorSample) throws -> [Double] {
    let terms = tensor.layout.kind == .partial ? tensor.layout.pieces.count : 1
    elementsRead += sample.elementCount * terms
    return try sample.values(of: tensor)
  }
}
