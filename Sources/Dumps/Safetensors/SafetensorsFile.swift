/// A safetensors file: eight bytes of header length, a JSON header, the tensors' bytes without a hole.
///
/// Format: https://huggingface.co/docs/safetensors. The header's offsets must cover the rest of the file exactly, one
/// tensor behind the other; a file that does not is refused as a whole, for it is cut or forged.
enum SafetensorsFile {
  /// The format's own limit.
  static let headerLimit = 100_000_000
  /// torch itself takes 64.
  private static let dimensionLimit = 64

  /// The tensors in the order of their bytes; `__metadata__` becomes scalars of that prefix.
  static func read(_ file: FileHandle) throws(DumpError) -> DumpFile {
    guard file.size >= 8 else {
      throw DumpError(
        code: .truncated, file: file.path, at: .byte(file.size),
        message: "the file ends before the length of its safetensors header; copy or dump it again")
    }
    let promised = try file.bytes(at: 0, count: 8).littleEndian(0, UInt64.self)
    guard promised <= UInt64(headerLimit) else {
      throw DumpError(
        code: .limit, file: file.path, at: .byte(0),
        message: "a safetensors header of \(promised) bytes is more than the \(headerLimit) that the format allows")
    }
    let headerBytes = Int(promised)
    guard headerBytes <= file.size - 8 else {
      throw DumpError(
        code: .truncated, file: file.path, at: .byte(file.size),
        message: "the file ends in its safetensors header of \(headerBytes) bytes; copy or dump it again")
    }
    let header = try file.bytes(at: 8, count: headerBytes)
    guard header.first == UInt8(ascii: "{") else {
      throw DumpError(
        code: .malformed, file: file.path, at: .byte(8), message: "a safetensors header begins with { and not so")
    }
    return try dump(entries(of: header, in: file), dataStart: 8 + headerBytes, in: file)
  }

  private struct Entry {
    var name: String
    var dtype: String
    var shape: [Int]
    /// In bytes, from the start of the data.
    var begin: Int
    var end: Int
  }

  private static func entries(
    of header: [UInt8], in file: FileHandle
  ) throws(DumpError) -> (tensors: [Entry], metadata: [NamedScalar]) {
    var tensors: [Entry] = []
    var metadata: [NamedScalar] = []
    var reader = JSONReader(header, file: file.path, base: 8)
    try reader.object { (reader, name) throws(DumpError) in
      if name == "__metadata__" {
        try reader.object { (reader, key) throws(DumpError) in
          metadata.append(NamedScalar(name: "__metadata__.\(key)", value: .string(try reader.string())))
        }
      } else {
        tensors.append(try entry(name, &reader))
      }
    }
    try reader.end()
    return (tensors, metadata)
  }

  private static func entry(_ name: String, _ reader: inout JSONReader) throws(DumpError) -> Entry {
    var dtype: String?
    var shape: [Int]?
    var offsets: [Int]?
    try reader.object { (reader, key) throws(DumpError) in
      switch key {
      case "dtype": dtype = try reader.string()
      case "shape": shape = try counts(&reader, limit: dimensionLimit)
      case "data_offsets": offsets = try counts(&reader, limit: 2)
      default: try reader.skip()
      }
    }
    guard let dtype, let shape, let offsets, offsets.count == 2 else {
      throw reader.malformed("dtype, shape or data_offsets of \(name.clipped) is missing")
    }
    guard offsets[0] <= offsets[1] else { throw reader.malformed("\(name.clipped) ends before it begins") }
    return Entry(name: name, dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1])
  }

  private static func counts(_ reader: inout JSONReader, limit: Int) throws(DumpError) -> [Int] {
    var counts: [Int] = []
    try reader.array { (reader) throws(DumpError) in
      guard counts.count < limit else { throw reader.malformed("more than \(limit) numbers in a list") }
      counts.append(try reader.count())
    }
    return counts
  }

  private static func dump(
    _ header: (tensors: [Entry], metadata: [NamedScalar]), dataStart: Int, in file: FileHandle
  ) throws(DumpError) -> DumpFile {
    var dump = DumpFile(scalars: header.metadata)
    let entries = header.tensors.sorted { ($0.begin, $0.end) < ($1.begin, $1.end) }
    var free = 0
    for entry in entries {
      guard entry.begin == free else {
        throw DumpError(
          code: .malformed, file: file.path, at: .key(entry.name.clipped),
          message: "its bytes begin at \(entry.begin) and those before it end at \(free); a safetensors file has "
            + "neither holes nor overlaps")
      }
      free = entry.end
      guard let type = FileType(entry.dtype) else {
        dump.skipped.append(
          SkippedValue(name: entry.name, why: "the dtype \(entry.dtype.clipped) is not known", isDamaged: false))
        continue
      }
      guard let byteCount = type.byteCount(of: entry.shape), byteCount == entry.end - entry.begin else {
        throw DumpError(
          code: .malformed, file: file.path, at: .key(entry.name.clipped),
          message: "\(entry.dtype) of shape \(entry.shape) does not take the \(entry.end - entry.begin) bytes that "
            + "the header gives it")
      }
      guard let dtype = type.dtype, let shape = type.shape(entry.shape) else {
        let why = "the dtype \(entry.dtype) of shape \(entry.shape) has no counterpart in torch"
        dump.skipped.append(SkippedValue(name: entry.name, why: why, isDamaged: false))
        continue
      }
      let (start, overflow) = dataStart.addingReportingOverflow(entry.begin)
      guard !overflow, let strides = StridedView.contiguousStrides(of: shape) else {
        throw DumpError(
          code: .malformed, file: file.path, at: .key(entry.name.clipped), message: "shape \(shape) is impossible")
      }
      let tensor = Tensor(
        name: entry.name, dtype: dtype, shape: shape, strides: strides, storageOffset: 0,
        storage: StorageRegion(path: file.path, offset: start, byteCount: byteCount))
      _ = try tensor.checkedView()
      dump.tensors.append(tensor)
    }
    let held = file.size - dataStart
    guard free <= held else {
      throw DumpError(
        code: .truncated, file: file.path, at: .byte(file.size),
        message: "the file ends here, but its header promises \(free - held) more bytes; copy or dump it again")
    }
    guard free == held else {
      throw DumpError(
        code: .malformed, file: file.path, at: .byte(dataStart + free),
        message: "\(held - free) bytes follow the last tensor of the header")
    }
    return dump
  }

  /// A dtype as the header spells it.
  private struct FileType {
    /// Nil where torch has no such type.
    var dtype: DType?
    /// Bits of one element of the header's shape.
    var bits: Int

    init?(_ name: String) {
      if name == "F6_E2M3" || name == "F6_E3M2" {
        (dtype, bits) = (nil, 6)
        return
      }
      guard let known = DType(safetensorsName: name) else { return nil }
      (dtype, bits) = (known, known == .float4E2M1FNx2 ? 4 : known.byteCount * 8)
    }

    func byteCount(of shape: [Int]) -> Int? {
      var count = bits
      if shape.contains(0) { return StridedView.contiguousStrides(of: shape) == nil ? nil : 0 }
      for dimension in shape {
        let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
        guard !overflow else { return nil }
        count = product
      }
      return count.isMultiple(of: 8) ? count / 8 : nil
    }

    /// The shape in torch's elements: two 4-bit floats are one of them.
    func shape(_ shape: [Int]) -> [Int]? {
      guard bits == 4 else { return shape }
      guard let last = shape.last, last.isMultiple(of: 2) else { return nil }
      return shape.dropLast() + [last / 2]
    }
  }
}

extension StridedView {
  /// Strides of a row-major view, in elements, as torch counts them; nil where counts are negative or overflow.
  static func contiguousStrides(of shape: [Int]) -> [Int]? {
    var strides = [Int](repeating: 1, count: shape.count)
    var stride = 1
    for i in shape.indices.reversed() {
      guard shape[i] >= 0 else { return nil }
      strides[i] = stride
      let (product, overflow) = stride.multipliedReportingOverflow(by: max(shape[i], 1))
      guard !overflow else { return nil }
      stride = product
    }
    return strides
  }
}
