import CDeflate

extension Kernels {
  /// CRC-32 as zip records it (reflected polynomial 0xEDB88320).
  ///
  /// - Parameter crc: the result for the bytes before these; 0 at the start.
  public static func crc32(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    // For libdeflate no bytes at all mean a new start, whatever `crc` is.
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return crc }
    return libdeflate_crc32(crc, base, bytes.count)
  }

  /// CRC-32 of the bytes of `first` followed by those of `second`, from the CRC-32 of each; as zlib's `crc32_combine`
  /// has it.
  ///
  /// A CRC is a polynomial modulo P, so what `secondByteCount` bytes more make of `first` is its product with
  /// x^(8 · secondByteCount) mod P.
  ///
  /// - Parameter secondByteCount: bytes that `second` stands for, 0 or more.
  public static func crc32Combined(first: UInt32, second: UInt32, secondByteCount: Int) -> UInt32 {
    // Reflected: the highest bit is the coefficient of 1, the one below it that of x.
    var power: UInt32 = 1 << 31
    var square: UInt32 = 1 << 23
    var rest = secondByteCount
    while rest > 0 {
      if rest & 1 == 1 { power = product(power, square) }
      square = product(square, square)
      rest >>= 1
    }
    return product(first, power) ^ second
  }

  /// The product of two polynomials modulo P.
  private static func product(_ left: UInt32, _ right: UInt32) -> UInt32 {
    var result: UInt32 = 0
    var right = right
    for bit in (0..<32).reversed() {
      if left >> UInt32(bit) & 1 == 1 { result ^= right }
      right = (right >> 1) ^ (right & 1 == 1 ? 0xEDB8_8320 : 0)
    }
    return result
  }
}
