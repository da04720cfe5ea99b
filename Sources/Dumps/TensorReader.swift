import TensorKernels

/// Reads the elements of one tensor, in blocks of the caller's choice.
///
/// It holds a file descriptor and reads with `pread`, never `mmap`: memory stays flat, and a file cut under us is
/// an error and not a signal. Reads may run in parallel.
public final class TensorReader: Sendable {
  public let tensor: Tensor
  /// Elements of the view.
  public let elementCount: Int

  private let file: FileHandle
  /// Where the storage begins in `file`.
  private let start: Int
  private let view: StridedView
  /// Where checksums of what is read are noted; nil where the view is not its storage as it stands in the file.
  private let audit: StorageAudit?
  /// Of a joined tensor: its pieces in order, each with its first element in the whole.
  private let pieces: [(reader: TensorReader, start: Int)]

  /// Opens the tensor's file and checks that the storage lies inside it and the view inside the storage.
  ///
  /// - Parameter audit: is told the checksum of what the caller reads and gives to ``note(_:crc:)``.
  public convenience init(_ tensor: Tensor, audit: StorageAudit? = nil) throws(DumpError) {
    try self.init(tensor, opened: nil, audit)
  }

  /// - Parameter opened: the tensor's storage, where it is open.
  private init(
    _ tensor: Tensor, opened: (file: FileHandle, start: Int)?, _ audit: StorageAudit?
  ) throws(DumpError) {
    if !tensor.pieces.isEmpty {
      var pieces: [(reader: TensorReader, start: Int)] = []
      var start = 0
      // Thousands may be cut from one storage, which is opened, and unpacked, once.
      var storages: [StorageRegion: (file: FileHandle, start: Int)] = [:]
      for piece in tensor.pieces {
        let reader = try TensorReader(piece, opened: storages[piece.storage], nil)
        if piece.pieces.isEmpty { storages[piece.storage] = (reader.file, reader.start) }
        pieces.append((reader, start))
        start += reader.elementCount
      }
      (self.tensor, self.pieces, elementCount) = (tensor, pieces, start)
      (view, file, self.start) = (pieces[0].reader.view, pieces[0].reader.file, pieces[0].reader.start)
      self.audit = nil
      return
    }
    pieces = []
    view = try tensor.checkedView()
    if let opened { (file, start) = opened } else { (file, start) = try tensor.storage.open() }
    guard start + tensor.storage.byteCount <= file.size else {
      throw DumpError(
        code: .truncated, file: file.path, at: .byte(file.size),
        message: "the file ends here, inside the storage of \(tensor.name); copy or dump it again")
    }
    self.tensor = tensor
    elementCount = view.elementCount
    let isWhole =
      view.isContiguous && tensor.storageOffset == 0 && !tensor.isConjugated && !tensor.isNegated
      && elementCount * tensor.dtype.byteCount == tensor.storage.byteCount
    self.audit = isWhole && tensor.storage.checksum != nil ? audit : nil
  }

  /// Whether ``note(_:crc:)`` has a use.
  public var notesChecksums: Bool { audit != nil }

  /// Notes elements that were read, where their checksum has a use: then it is the result.
  @discardableResult
  public func note(_ range: Range<Int>, bytes: [UInt8]) -> UInt32? {
    guard audit != nil else { return nil }
    let crc = bytes.withUnsafeBytes { Self.checksum(of: $0) }
    note(range, crc: crc)
    return crc
  }

  /// CRC-32 of bytes, after those of which `crc` is known.
  public static func checksum(of bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    Kernels.crc32(bytes, continuing: crc)
  }

  /// Notes the CRC-32 of elements that were read.
  public func note(_ range: Range<Int>, crc: UInt32) {
    let size = tensor.dtype.byteCount
    audit?.note(tensor.storage, (range.lowerBound * size)..<(range.upperBound * size), crc: crc)
  }

  /// Whether elements stand behind one another, in their order.
  public var isContiguous: Bool { pieces.isEmpty ? view.isContiguous : pieces.allSatisfy(\.reader.isContiguous) }

  private func check(_ range: Range<Int>) throws(DumpError) {
    guard range.lowerBound >= 0, range.upperBound <= elementCount else {
      throw DumpError(
        code: .malformed, file: tensor.storage.path, at: .key(tensor.name),
        message: "elements \(range) are asked for, and it has \(elementCount)")
    }
  }

  /// Reads elements as contiguous little-endian bytes, with the conjugation and negation bits applied.
  ///
  /// - Parameters:
  ///   - range: logical row-major element numbers, inside `0..<elementCount`.
  ///   - bytes: afterwards exactly the elements' bytes; its memory is used again.
  public func read(_ range: Range<Int>, into bytes: inout [UInt8]) throws(DumpError) {
    try check(range)
    let byteCount = range.count * tensor.dtype.byteCount
    if bytes.count > byteCount {
      bytes.removeLast(bytes.count - byteCount)
    } else if bytes.count < byteCount {
      bytes.append(contentsOf: repeatElement(0, count: byteCount - bytes.count))
    }
    var failure: DumpError?
    bytes.withUnsafeMutableBytes { target in
      do throws(DumpError) { try read(range, into: target) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Reads elements as numbers, and notes their checksum: `dtype.valuesPerElement` of them an element, as ``DType/decode(_:into:)`` has it.
  ///
  /// - Parameters:
  ///   - range: logical row-major element numbers, inside `0..<elementCount`.
  ///   - values: afterwards exactly the elements' numbers; its memory is used again.
  public func readDoubles(_ range: Range<Int>, into values: inout [Double]) throws(DumpError) {
    try check(range)
    let dtype = tensor.dtype
    let perElement = dtype.valuesPerElement
    let count = range.count * perElement
    if values.count > count {
      values.removeLast(values.count - count)
    } else if values.count < count {
      values.append(contentsOf: repeatElement(0, count: count - values.count))
    }
    let step = Self.blockBytes / dtype.byteCount
    var bytes: [UInt8] = []
    var start = range.lowerBound
    while start < range.upperBound {
      let end = min(start + step, range.upperBound)
      try read(start..<end, into: &bytes)
      note(start..<end, bytes: bytes)
      let first = (start - range.lowerBound) * perElement
      values.withUnsafeMutableBufferPointer { target in
        bytes.withUnsafeBytes { dtype.decode($0, into: UnsafeMutableBufferPointer(rebasing: target[first...])) }
      }
      start = end
    }
  }

  /// Bytes of one piece of work: of decoding, and of the window that a gather reads.
  static let blockBytes = 256 << 10

  /// The same into memory of just that size.
  public func read(_ range: Range<Int>, into target: UnsafeMutableRawBufferPointer) throws(DumpError) {
    let size = tensor.dtype.byteCount
    try check(range)
    precondition(target.count == range.count * size, "memory of another size")
    guard !range.isEmpty else { return }
    if !pieces.isEmpty {
      for (reader, start) in pieces {
        let part = range.clamped(to: start..<(start + reader.elementCount))
        guard !part.isEmpty else { continue }
        let from = (part.lowerBound - range.lowerBound) * size
        try reader.read(
          (part.lowerBound - start)..<(part.upperBound - start),
          into: UnsafeMutableRawBufferPointer(rebasing: target[from..<(from + part.count * size)]))
      }
      return
    }
    let first = start + tensor.storageOffset * size
    if view.isContiguous {
      try file.read(into: target, at: first + range.lowerBound * size)
    } else {
      var gather = Gather(file: file, elementBytes: size, firstByte: first, target: target)
      try gather.read(range, of: view)
    }
    if tensor.isConjugated || tensor.isNegated { applyLazyBits(to: target) }
  }

  /// Conjugation turns the sign of imaginary parts, negation that of everything.
  private func applyLazyBits(to target: UnsafeMutableRawBufferPointer) {
    let dtype = tensor.dtype
    let partBytes = dtype.byteCount / (dtype.isComplex ? 2 : 1)
    for part in 0..<(target.count / partBytes) {
      let isImaginary = dtype.isComplex && part % 2 == 1
      guard tensor.isNegated != (tensor.isConjugated && isImaginary) else { continue }
      let start = part * partBytes
      if dtype.isFloatingPoint {
        if dtype != .float8E8M0FNU {
          target[start + partBytes - 1] ^= dtype == .float4E2M1FNx2 ? 0x88 : 0x80
        }
      } else if dtype != .bool {
        // Two's complement: invert, add one.
        var carry = true
        for i in start..<(start + partBytes) {
          let (sum, overflow) = (~target[i]).addingReportingOverflow(carry ? 1 : 0)
          target[i] = sum
          carry = overflow
        }
      }
    }
  }
}
