extension DType {
  /// Whether elements, as little-endian bytes, hold NaN. (Infinity may be meant, as in the buffer of a mask.)
  func holdsNaN(_ bytes: [UInt8]) -> Bool {
    /// Whether one of them, its sign aside, is beyond infinity's bits (or the largest number's, where there is none).
    func holds<Bits: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>(_ infinity: Bits) -> Bool {
      let magnitude = Bits.max >> 1
      return bytes.withUnsafeBytes { bytes in
        var hits: Bits = 0
        for at in stride(from: 0, to: bytes.count, by: MemoryLayout<Bits>.size) {
          let bits = Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: Bits.self)) & magnitude
          hits |= bits > infinity ? 1 : 0
        }
        return hits != 0
      }
    }
    return switch self {
    case .float64, .complex128: holds(0x7FF0_0000_0000_0000 as UInt64)
    case .float32, .complex64: holds(0x7F80_0000 as UInt32)
    case .float16, .complex32: holds(0x7C00 as UInt16)
    case .bfloat16: holds(0x7F80 as UInt16)
    case .float8E5M2: holds(0x7C as UInt8)
    // One NaN of each sign, and no infinity.
    case .float8E4M3FN: holds(0x7E as UInt8)
    case .float8E8M0FNU: bytes.contains(0xFF)
    case .float8E4M3FNUZ, .float8E5M2FNUZ: bytes.contains(0x80)
    case .float4E2M1FNx2, .int64, .int32, .int16, .int8, .uint64, .uint32, .uint16, .uint8, .bool: false
    }
  }
}
