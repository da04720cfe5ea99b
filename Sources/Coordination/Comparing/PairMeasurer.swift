import Alignment
import Comparison
import Dumps
import Synchronization

/// Measures two logical tensors of one shape, chunk by chunk, on as many cores as there are.
enum PairMeasurer {
  /// Bytes of one side that are read at a time: both sides', and what they are copied from, stay in a core's own cache.
  private static let blockBytes = 128 << 10
  /// The same of elements that do not stand behind one another, as of a transposed weight: each piece of it is read
  /// along with what lies between, and the more is wanted at once, the less lies between.
  private static let windowBytes = 16 << 20

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
      rowLength: shape.count >= 2 ? TokenRows(shape: shape).length : 1)
    let measure: @Sendable (ArraySlice<Range<Int>>) throws -> [MeasureAccumulator] = { chunks in
      var parts = chunks.map { MeasureAccumulator(shape: shape, valuesPerElement: values, startingAt: $0.lowerBound) }
      if let strided = pair.strided {
        try pair.add(chunks, strided.dtype, strided.left, strided.right, to: &parts)
      } else {
        for (index, chunk) in chunks.enumerated() {
          try pair.add(chunk, blockBytes: blockBytes, to: &parts[index])
        }
      }
      return parts
    }
    let chunks = MeasureAccumulator.chunks(shape: shape, valuesPerElement: values)
    let atOnce = pair.strided.map { max(1, windowBytes / max(1, (chunks.first?.count ?? 0) * $0.dtype.byteCount)) } ?? 1
    let windows = stride(from: 0, to: chunks.count, by: atOnce).map { chunks[$0..<min($0 + atOnce, chunks.count)] }
    // One chunk is not worth a task of its own.
    let parts = windows.count > 1 ? try await Bounded.map(windows, measure) : try windows.map(measure)
    var whole = MeasureAccumulator(shape: shape, valuesPerElement: values)
    for part in parts.joined() { whole.merge(part) }
    var measures = whole.measures
    if target.dtype != reference.dtype { measures.byteEqual = 0 }
    let isWide = Set([target.dtype, reference.dtype]) == [.int64, .uint64] && !target.isSum && !reference.isSum
    if isWide, measures.maxAbs == 0 {
      let unequal = try unequalIntegers(pair, chunks: chunks)
      if unequal > 0 { (measures.maxAbs, measures.unequalElements) = (1, unequal) }
    }
    let isComplex = (target.dtype.isComplex || reference.dtype.isComplex) && measures.maxAbs > 0
    if isComplex || whole.needsDirectResidual {
      var sums = DirectSums(alpha: measures.alpha, isComplex: isComplex)
      let empty = sums
      for part in try await Bounded.map(chunks, { try pair.add($0, blockBytes: blockBytes, to: empty) }) {
        sums.merge(part)
      }
      measures = sums.correcting(measures, shape: shape)
    }
    return measures
  }

  /// Integers of 64 bits, with a sign and without, that are one as doubles and not the same bits.
  private static func unequalIntegers(_ pair: OpenPair, chunks: [Range<Int>]) throws -> Int {
    var (left, right) = (pair.target, pair.reference)
    var bytes: (left: [UInt8], right: [UInt8]) = ([], [])
    var unequal = 0
    for chunk in chunks {
      for start in stride(from: chunk.lowerBound, to: chunk.upperBound, by: blockBytes / 8) {
        let end = min(start + blockBytes / 8, chunk.upperBound)
        try left.readBytes((pair.targetStart + start)..<(pair.targetStart + end), into: &bytes.left)
        try right.readBytes((pair.referenceStart + start)..<(pair.referenceStart + end), into: &bytes.right)
        if MeasureAccumulator.areSameBytes(bytes.left, bytes.right) { continue }
        unequal += stride(from: 0, to: bytes.left.count, by: 8).count {
          bytes.left[$0..<($0 + 8)] != bytes.right[$0..<($0 + 8)]
        }
      }
    }
    return unequal
  }

  /// Positions of `tensors` whose shape, type or bytes are not those of the first, over the whole tensor.
  static func divergent(_ tensors: [Tensor], audit: StorageAudit? = nil) throws -> [Int] {
    guard let first = tensors.first else { return [] }
    let head = try TensorReader(first)
    let others = try tensors.dropFirst().map { try TensorReader($0, audit: audit) }
    var result = Set(tensors.indices.filter { tensors[$0].shape != first.shape || tensors[$0].dtype != first.dtype })
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

  /// The type and both tensors where one of them does not stand in its file as it is read.
  var strided: (dtype: DType, left: TensorReader, right: TensorReader)? {
    guard let dtype, let left = target.plainReader, let right = reference.plainReader,
      !left.isContiguous || !right.isContiguous
    else { return nil }
    return (dtype, left, right)
  }

  /// Reads the elements of neighbouring chunks of `strided` at once, and adds each chunk to its own accumulator.
  func add(
    _ chunks: ArraySlice<Range<Int>>, _ dtype: DType, _ left: TensorReader, _ right: TensorReader,
    to accumulators: inout [MeasureAccumulator]
  ) throws {
    guard let first = chunks.first?.lowerBound, let end = chunks.last?.upperBound else { return }
    var bytes: (left: [UInt8], right: [UInt8]) = ([], [])
    try left.read((targetStart + first)..<(targetStart + end), into: &bytes.left)
    try right.read((referenceStart + first)..<(referenceStart + end), into: &bytes.right)
    for (index, chunk) in chunks.enumerated() {
      let part = ((chunk.lowerBound - first) * dtype.byteCount)..<((chunk.upperBound - first) * dtype.byteCount)
      func note(_ reader: TensorReader, _ start: Int, _ bytes: UnsafeRawBufferPointer) {
        guard reader.notesChecksums else { return }
        reader.note(
          (start + chunk.lowerBound)..<(start + chunk.upperBound), crc: TensorReader.checksum(of: bytes))
      }
      bytes.left.withUnsafeBytes { a in
        bytes.right.withUnsafeBytes { b in
          let (a, b) = (UnsafeRawBufferPointer(rebasing: a[part]), UnsafeRawBufferPointer(rebasing: b[part]))
          accumulators[index].add(dtype, target: a, reference: b)
          note(left, targetStart, a)
          note(right, referenceStart, b)
        }
      }
    }
  }

  /// Reads the elements of `chunk` and adds them.
  func add(_ chunk: Range<Int>, blockBytes: Int, to accumulator: inout MeasureAccumulator) throws {
    if let dtype, let left = target.plainReader, let right = reference.plainReader {
      return try add(chunk, dtype, left, right, blockBytes: blockBytes, to: &accumulator)
    }
    var (left, right) = (target, reference)
    var buffers = Buffers.take()
    defer { Buffers.give(buffers) }
    let step = step(blockBytes)
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

  /// The elements of `chunk` once more, for what the sums of one sweep do not tell.
  func add(_ chunk: Range<Int>, blockBytes: Int, to sums: DirectSums) throws -> DirectSums {
    var (left, right) = (target, reference)
    var buffers = Buffers.take()
    defer { Buffers.give(buffers) }
    var sums = sums
    let step = step(blockBytes)
    var start = chunk.lowerBound
    while start < chunk.upperBound {
      let end = min(start + step, chunk.upperBound)
      try left.read(
        (targetStart + start)..<(targetStart + end), bytes: &buffers.left, values: &buffers.leftValues)
      try right.read(
        (referenceStart + start)..<(referenceStart + end), bytes: &buffers.right, values: &buffers.rightValues)
      sums.add(target: buffers.leftValues, reference: buffers.rightValues, from: start)
      start = end
    }
    return sums
  }

  /// Elements that are read at a time: whole rows, where they fit, for a reader of shards reads whole rows.
  private func step(_ blockBytes: Int) -> Int {
    let most = max(1, blockBytes / (dtype?.byteCount ?? 8))
    return rowLength > 0 && rowLength < most ? most / rowLength * rowLength : most
  }

  /// The same of two tensors that are read as they stand.
  private func add(
    _ chunk: Range<Int>, _ dtype: DType, _ left: TensorReader, _ right: TensorReader, blockBytes: Int,
    to accumulator: inout MeasureAccumulator
  ) throws {
    let memory = Blocks.take(bytes: blockBytes)
    defer { Blocks.give(memory) }
    var crc: (left: UInt32, right: UInt32) = (0, 0)
    let step = step(blockBytes)
    var start = chunk.lowerBound
    while start < chunk.upperBound {
      let end = min(start + step, chunk.upperBound)
      let count = (end - start) * dtype.byteCount
      let a = UnsafeMutableRawBufferPointer(rebasing: memory.left[..<count])
      let b = UnsafeMutableRawBufferPointer(rebasing: memory.right[..<count])
      try left.read((targetStart + start)..<(targetStart + end), into: a)
      try right.read((referenceStart + start)..<(referenceStart + end), into: b)
      let areEqual = accumulator.add(
        dtype, target: UnsafeRawBufferPointer(a), reference: UnsafeRawBufferPointer(b))
      // Equal bytes after equal bytes have one checksum.
      let isShared = areEqual && left.notesChecksums && crc.left == crc.right
      if left.notesChecksums {
        crc.left = TensorReader.checksum(of: UnsafeRawBufferPointer(a), continuing: crc.left)
      }
      if right.notesChecksums {
        crc.right =
          isShared ? crc.left : TensorReader.checksum(of: UnsafeRawBufferPointer(b), continuing: crc.right)
      }
      start = end
    }
    left.note((targetStart + chunk.lowerBound)..<(targetStart + chunk.upperBound), crc: crc.left)
    right.note((referenceStart + chunk.lowerBound)..<(referenceStart + chunk.upperBound), crc: crc.right)
  }
}

/// Memory for one block of each side, aligned for the widest registers and used again by the next chunk.
private final class Blocks: @unchecked Sendable {
  // One chunk at a time has it.
  let left: UnsafeMutableRawBufferPointer
  let right: UnsafeMutableRawBufferPointer

  private init(bytes: Int) {
    left = .allocate(byteCount: bytes, alignment: 4096)
    right = .allocate(byteCount: bytes, alignment: 4096)
  }

  deinit {
    left.deallocate()
    right.deallocate()
  }

  private static let free = Mutex<[Blocks]>([])

  static func take(bytes: Int) -> Blocks {
    free.withLock { $0.last?.left.count == bytes ? $0.popLast() : nil } ?? Blocks(bytes: bytes)
  }
  static func give(_ blocks: Blocks) { free.withLock { $0.append(blocks) } }
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
