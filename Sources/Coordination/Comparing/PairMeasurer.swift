import Alignment
import Comparison
import Dumps
import Synchronization

/// Measures two logical tensors of one shape, chunk by chunk, on as many cores as there are.
enum PairMeasurer {
  /// Bytes of one side that are read at a time: both sides', and what they are copied from, stay in a core's own cache.
  private static let blockBytes = 128 << 10

  /// - Parameters:
  ///   - shape: shape of what is compared.
  ///   - targetStart: first element of the target, row-major; `referenceStart` likewise.
  ///   - audit: is told the checksums of what is read.
  static func measure(
    target: LogicalTensor, reference: LogicalTensor, shape: [Int], targetStart: Int = 0, referenceStart: Int = 0,
    audit: StorageAudit? = nil
  ) async throws -> Measures {
    let values = target.dtype.valuesPerElement
    guard reference.dtype.valuesPerElement == values else {
      throw AlignmentError(
        code: .shapeMismatch, place: "element types",
        message: "\(reference.dtype.rawValue) and \(target.dtype.rawValue) hold different numbers of values an element")
    }
    let pair = OpenPair(
      target: try target.makeReader(audit: audit), reference: try reference.makeReader(audit: audit),
      dtype: target.dtype == reference.dtype && !target.isSum && !reference.isSum ? target.dtype : nil,
      targetStart: targetStart, referenceStart: referenceStart,
      rowLength: shape.count >= 2 ? shape.dropFirst().reduce(1, *) : 1)
    let measure: @Sendable (Range<Int>) throws -> MeasureAccumulator = { chunk in
      var accumulator = MeasureAccumulator(shape: shape, valuesPerElement: values, startingAt: chunk.lowerBound)
      try pair.add(chunk, blockBytes: blockBytes, to: &accumulator)
      return accumulator
    }
    let chunks = MeasureAccumulator.chunks(shape: shape, valuesPerElement: values)
    // One chunk is not worth a task of its own.
    let parts = chunks.count > 1 ? try await Bounded.map(chunks, measure) : try chunks.map(measure)
    var whole = MeasureAccumulator(shape: shape, valuesPerElement: values)
    for part in parts { whole.merge(part) }
    var measures = whole.measures
    if target.dtype != reference.dtype { measures.byteEqual = 0 }
    return measures
  }

  /// Positions of `tensors` whose bytes are not those of the first, over the whole tensor.
  static func divergent(_ tensors: [Tensor], audit: StorageAudit? = nil) throws -> [Int] {
    guard let first = tensors.first else { return [] }
    let head = try TensorReader(first)
    let others = try tensors.dropFirst().map { try TensorReader($0, audit: audit) }
    var result: Set<Int> = []
    var left: [UInt8] = []
    var right: [UInt8] = []
    var start = 0
    while start < first.elementCount, result.count < others.count {
      let end = min(start + blockBytes / max(1, first.dtype.byteCount), first.elementCount)
      try head.read(start..<end, into: &left)
      var crc: UInt32?
      for (index, other) in others.enumerated() where !result.contains(index + 1) {
        try other.read(start..<end, into: &right)
        // Equal bytes have one checksum.
        let areEqual = MeasureAccumulator.areSameBytes(left, right)
        if areEqual, let crc {
          other.note(start..<end, crc: crc)
        } else {
          let found = other.note(start..<end, bytes: right)
          if areEqual { crc = found }
        }
        if !areEqual { result.insert(index + 1) }
      }
      start = end
    }
    return result.sorted()
  }
}

/// Both sides of a pair, opened; copies read independently of each other.
private struct OpenPair: Sendable {
  var target: LogicalReader
  var reference: LogicalReader
  /// The type of both sides where their bytes can be compared; nil where only their values can.
  var dtype: DType?
  var targetStart: Int
  var referenceStart: Int
  /// Elements of one token row.
  var rowLength: Int

  /// Reads the elements of `chunk` and adds them.
  func add(_ chunk: Range<Int>, blockBytes: Int, to accumulator: inout MeasureAccumulator) throws {
    var (left, right) = (target, reference)
    var buffers = Buffers.take()
    defer { Buffers.give(buffers) }
    let most = max(1, blockBytes / (dtype?.byteCount ?? 8))
    // Whole rows, where they fit: a reader of shards reads whole rows.
    let step = rowLength > 0 && rowLength < most ? most / rowLength * rowLength : most
    var start = chunk.lowerBound
    while start < chunk.upperBound {
      let end = min(start + step, chunk.upperBound)
      let (leftRange, rightRange) = (
        (targetStart + start)..<(targetStart + end), (referenceStart + start)..<(referenceStart + end)
      )
      var areEqual = false
      if let dtype {
        try left.readBytes(leftRange, into: &buffers.left)
        try right.readBytes(rightRange, into: &buffers.right)
        areEqual = accumulator.add(dtype, target: buffers.left, reference: buffers.right)
      } else {
        try left.read(leftRange, bytes: &buffers.left, values: &buffers.leftValues)
        try right.read(rightRange, bytes: &buffers.right, values: &buffers.rightValues)
        accumulator.add(target: buffers.leftValues, reference: buffers.rightValues)
      }
      let crc = left.plainReader?.note(leftRange, bytes: buffers.left)
      if let crc, areEqual {
        right.plainReader?.note(rightRange, crc: crc)
      } else {
        right.plainReader?.note(rightRange, bytes: buffers.right)
      }
      start = end
    }
  }
}

/// Memory for one block of each side, used again by the next chunk.
private struct Buffers {
  var left: [UInt8] = []
  var right: [UInt8] = []
  var leftValues: [Double] = []
  var rightValues: [Double] = []

  // As many as chunks are measured at a time.
  private static let free = Mutex<[Buffers]>([])

  static func take() -> Buffers { free.withLock { $0.popLast() } ?? Buffers() }
  static func give(_ buffers: Buffers) { free.withLock { $0.append(buffers) } }
}
