/// A NumPy `.npy` file or record, versions 1 to 3: a signature, a header that is a Python literal, the array's bytes.
///
/// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. The literal is parsed and never
/// evaluated; arrays of Python objects are pickles, and refused. NumPy has no bfloat16: `V2`, as which such arrays
/// are saved, is read as one. `V1` might be any 8-bit float, and is refused.
enum NPYFile {
  static let signature: [UInt8] = [0x93] + Array("NUMPY".utf8)
  /// NumPy itself reads no more than 10,000 without being asked to.
  private static let headerLimit = 1 << 20
  /// NumPy itself takes 64.
  private static let dimensionLimit = 64

  /// The one array, with the name `value`.
  static func read(_ file: FileHandle) throws(DumpError) -> DumpFile {
    let tensor = try tensor("value", in: file, offset: 0, byteCount: file.size, checksum: nil)
    return DumpFile(tensors: [tensor])
  }

  /// The array in a range of a file that the caller has checked; `checksum` is the CRC-32 of that range.
  static func tensor(
    _ name: String, in file: FileHandle, offset: Int, byteCount: Int, checksum: UInt32?
  ) throws(DumpError) -> Tensor {
    let header = try Header(file, offset: offset, byteCount: byteCount, name: name)
    let dtype = try dtype(header.descr, at: name, in: file)
    func malformed(_ message: String) -> DumpError {
      DumpError(code: .malformed, file: file.path, at: .key(name.clipped), message: message)
    }
    guard let row = StridedView.contiguousStrides(of: header.shape),
      let column = StridedView.contiguousStrides(of: header.shape.reversed())
    else { throw malformed("shape \(header.shape) is impossible") }

    let elements = header.shape.contains(0) ? 0 : header.shape.reduce(1, &*)
    let (dataBytes, overflow) = elements.multipliedReportingOverflow(by: dtype.byteCount)
    guard !overflow else { throw malformed("shape \(header.shape) is too large") }
    let held = byteCount - header.byteCount
    guard dataBytes <= held else {
      throw DumpError(
        code: .truncated, file: file.path, at: .byte(offset + byteCount),
        message: "the array \(name.clipped) ends here, but \(dataBytes - held) more bytes should follow; copy or dump "
          + "it again")
    }
    guard dataBytes == held else {
      throw malformed(
        "\(held - dataBytes) bytes follow the array; where several were saved to one file, save each to its own")
    }
    // A recorded checksum is that of header and data together, so the storage is both.
    let isWhole = checksum != nil && header.byteCount.isMultiple(of: dtype.byteCount)
    let tensor = Tensor(
      name: name, dtype: dtype, shape: header.shape,
      strides: header.isFortranOrder ? column.reversed() : row,
      storageOffset: isWhole ? header.byteCount / dtype.byteCount : 0,
      storage: StorageRegion(
        path: file.path, offset: isWhole ? offset : offset + header.byteCount,
        byteCount: isWhole ? byteCount : dataBytes, checksum: isWhole ? checksum : nil))
    _ = try tensor.checkedView()
    return tensor
  }

  private static func dtype(_ descr: String, at name: String, in file: FileHandle) throws(DumpError) -> DType {
    func unsupported(_ message: String) -> DumpError {
      DumpError(code: .unsupported, file: file.path, at: .key(name.clipped), message: message)
    }
    if let known = dtype(descr) { return known }
    let kind = descr.dropFirst()
    if descr.hasPrefix(">"), dtypes[String(kind)] != nil {
      throw unsupported("the array is big-endian (\(descr)); save it with .astype('<\(kind)')")
    }
    switch kind.first {
    case "O":
      throw unsupported(
        "the array holds Python objects (dtype O), which are a pickle and may run code when loaded; it is never read")
    case "V" where kind == "V1":
      throw unsupported("dtype \(descr) does not say which 8-bit float it is; save it with torch.save or safetensors")
    default: throw unsupported("the dtype \(descr.clipped) is not one of tensors")
    }
  }

  /// The type of `descr`, little-endian; nil where there is none.
  static func dtype(_ descr: String) -> DType? {
    guard let known = dtypes[String(descr.dropFirst())] else { return nil }
    switch descr.first {
    case "<", "|": return known
    // One byte has no order.
    case ">": return known.byteCount == 1 ? known : nil
    default: return nil
    }
  }

  private static let dtypes: [String: DType] = [
    "f8": .float64, "f4": .float32, "f2": .float16, "V2": .bfloat16, "i8": .int64, "i4": .int32, "i2": .int16,
    "i1": .int8, "u8": .uint64, "u4": .uint32, "u2": .uint16, "u1": .uint8, "b1": .bool, "c8": .complex64,
    "c16": .complex128,
  ]

  private struct Header {
    var descr = ""
    var isFortranOrder = false
    var shape: [Int] = []
    /// From the signature to the data.
    var byteCount: Int

    init(_ file: FileHandle, offset: Int, byteCount limit: Int, name: String) throws(DumpError) {
      func truncated() -> DumpError {
        DumpError(
          code: .truncated, file: file.path, at: .byte(offset + limit),
          message: "the file ends in the header of the array \(name.clipped); copy or dump it again")
      }
      guard limit >= 10 else { throw truncated() }
      let start = try file.bytes(at: offset, count: min(limit, 12))
      guard start.starts(with: signature) else {
        throw DumpError(
          code: .malformed, file: file.path, at: .byte(offset), message: "the signature of an .npy array is missing")
      }
      guard (1...3).contains(start[6]), start[7] == 0 else {
        throw DumpError(
          code: .unsupported, file: file.path, at: .byte(offset + 6),
          message: ".npy version \(start[6]).\(start[7]) is not one of 1.0, 2.0 and 3.0")
      }
      let prefix = start[6] == 1 ? 10 : 12
      guard start.count >= prefix else { throw truncated() }
      let count = start[6] == 1 ? Int(start.littleEndian(8, UInt16.self)) : Int(start.littleEndian(8, UInt32.self))
      guard count <= headerLimit else {
        throw DumpError(
          code: .limit, file: file.path, at: .byte(offset + 8),
          message: "an .npy header of \(count) bytes is larger than the \(headerLimit) that are read")
      }
      guard count <= limit - prefix else { throw truncated() }
      byteCount = prefix + count
      let text = try file.bytes(at: offset + prefix, count: count)
      var literal = NPYLiteral(text, file: file.path, base: offset + prefix)
      try literal.dictionary { (literal, key) throws(DumpError) in
        switch key {
        case "descr": descr = try literal.descr()
        case "fortran_order": isFortranOrder = try literal.bool()
        case "shape": shape = try literal.shape(limit: dimensionLimit)
        default: throw literal.malformed("the key \(key.clipped) is unknown")
        }
      }
    }
  }
}
