import TensorKernels

extension DType {
  /// Numbers that one element of the shape decodes to: 2 for complex types (real, imaginary) and for the packed
  /// 4-bit type (low nibble, high nibble), else 1.
  public var valuesPerElement: Int {
    switch self {
    case .complex32, .complex64, .complex128, .float4E2M1FNx2: 2
    default: 1
    }
  }

  /// True for real and complex floating-point types, false for integers and bool.
  public var isFloatingPoint: Bool {
    switch self {
    case .int64, .int32, .int16, .int8, .uint64, .uint32, .uint16, .uint8, .bool: false
    default: true
    }
  }

  public var isComplex: Bool {
    switch self {
    case .complex32, .complex64, .complex128: true
    default: false
    }
  }

  /// Unit roundoff: the largest relative error of rounding a number in range to this type (half the gap between
  /// 1 and the next number; 2^-8 for bfloat16). 0 for integers and bool.
  public var epsilon: Double {
    switch self {
    case .float64, .complex128: 0x1p-53
    case .float32, .complex64: 0x1p-24
    case .float16, .complex32: 0x1p-11
    case .bfloat16: 0x1p-8
    case .float8E4M3FN, .float8E4M3FNUZ: 0x1p-4
    case .float8E5M2, .float8E5M2FNUZ: 0x1p-3
    case .float4E2M1FNx2: 0x1p-2
    case .float8E8M0FNU: 0x1p-1
    default: 0
    }
  }

  /// Decodes little-endian elements at any alignment to Double.
  ///
  /// Exact for every type but int64 and uint64, whose magnitudes beyond 2^53 are rounded to the nearest Double
  /// (compare those as bytes). NaN and infinity come out as such; bool is 0 or 1 (any non-zero byte is 1).
  ///
  /// - Parameters:
  ///   - bytes: whole elements, `byteCount` bytes each.
  ///   - values: room for `valuesPerElement` numbers an element; it is the caller's duty to size it.
  public func decode(_ bytes: UnsafeRawBufferPointer, into values: UnsafeMutableBufferPointer<Double>) {
    let count = bytes.count / byteCount
    precondition(count * valuesPerElement <= values.count, "the buffer for decoded values is too small")
    guard count > 0, let source = bytes.baseAddress, let target = values.baseAddress else { return }
    switch self {
    case .float64: Kernels.decodeFloat64(source, count: count, into: target)
    case .float32: Kernels.decodeFloat32(source, count: count, into: target)
    case .float16: Kernels.decodeFloat16(source, count: count, into: target)
    case .bfloat16: Kernels.decodeBFloat16(source, count: count, into: target)
    case .complex128: Kernels.decodeFloat64(source, count: 2 * count, into: target)
    case .complex64: Kernels.decodeFloat32(source, count: 2 * count, into: target)
    case .complex32: Kernels.decodeFloat16(source, count: 2 * count, into: target)
    case .int64: Kernels.decodeInteger(Int64.self, source, count: count, into: target)
    case .int32: Kernels.decodeInteger(Int32.self, source, count: count, into: target)
    case .int16: Kernels.decodeInteger(Int16.self, source, count: count, into: target)
    case .int8: Kernels.decodeInteger(Int8.self, source, count: count, into: target)
    case .uint64: Kernels.decodeInteger(UInt64.self, source, count: count, into: target)
    case .uint32: Kernels.decodeInteger(UInt32.self, source, count: count, into: target)
    case .uint16: Kernels.decodeInteger(UInt16.self, source, count: count, into: target)
    case .uint8: Kernels.decodeInteger(UInt8.self, source, count: count, into: target)
    case .bool: decode(source, count, by: NumberTables.bool, into: target)
    case .float8E4M3FN: decode(source, count, by: NumberTables.e4m3fn, into: target)
    case .float8E4M3FNUZ: decode(source, count, by: NumberTables.e4m3fnuz, into: target)
    case .float8E5M2: decode(source, count, by: NumberTables.e5m2, into: target)
    case .float8E5M2FNUZ: decode(source, count, by: NumberTables.e5m2fnuz, into: target)
    case .float8E8M0FNU: decode(source, count, by: NumberTables.e8m0fnu, into: target)
    case .float4E2M1FNx2:
      NumberTables.e2m1.withUnsafeBufferPointer { table in
        guard let table = table.baseAddress else { return }
        Kernels.decodeNibbles(source, count: count, table: table, into: target)
      }
    }
  }

  private func decode(
    _ source: UnsafeRawPointer, _ count: Int, by table: [Double], into target: UnsafeMutablePointer<Double>
  ) {
    table.withUnsafeBufferPointer { table in
      guard let table = table.baseAddress else { return }
      Kernels.decodeBytes(source, count: count, table: table, into: target)
    }
  }
}

/// What each code of the small types stands for. OCP 8-bit floating point (e4m3fn, e5m2), the fnuz variants of
/// AMD MI300 and Graphcore, OCP microscaling (e8m0, e2m1).
private enum NumberTables {
  static let bool: [Double] = (0...255).map { $0 == 0 ? 0 : 1 }
  static let e4m3fn = table(mantissaBits: 3, bias: 7, bits: 8) { $0 & 0x7F == 0x7F ? .nan : nil }
  static let e4m3fnuz = table(mantissaBits: 3, bias: 8, bits: 8) { $0 == 0x80 ? .nan : nil }
  static let e5m2 = table(mantissaBits: 2, bias: 15, bits: 8) { code in
    switch code & 0x7F {
    case 0x7C: code & 0x80 == 0 ? .infinity : -.infinity
    case 0x7D...0x7F: .nan
    default: nil
    }
  }
  static let e5m2fnuz = table(mantissaBits: 2, bias: 16, bits: 8) { $0 == 0x80 ? .nan : nil }
  static let e8m0fnu: [Double] = (0...255).map {
    $0 == 255 ? .nan : Double(sign: .plus, exponent: $0 - 127, significand: 1)
  }
  static let e2m1 = table(mantissaBits: 1, bias: 1, bits: 4) { _ in nil }

  /// Sign, exponent, mantissa with gradual underflow; `special` names the codes that are no such number.
  private static func table(
    mantissaBits: Int, bias: Int, bits: Int, special: (Int) -> Double?
  ) -> [Double] {
    (0..<(1 << bits)).map { code in
      if let value = special(code) { return value }
      let magnitude = code & ((1 << (bits - 1)) - 1)
      let exponent = magnitude >> mantissaBits
      let fraction = magnitude & ((1 << mantissaBits) - 1)
      let significand = exponent == 0 ? fraction : fraction + (1 << mantissaBits)
      let value =
        Double(significand) * Double(sign: .plus, exponent: max(exponent, 1) - bias - mantissaBits, significand: 1)
      return magnitude == code ? value : -value
    }
  }
}
