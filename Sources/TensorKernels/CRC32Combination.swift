extension Kernels {
  /// CRC-32 of two pieces one behind the other, from their own, as zlib's `crc32_combine` gives it.
  public static func crc32Combined(_ first: UInt32, _ second: UInt32, secondByteCount: Int) -> UInt32 {
    var power: UInt32 = 1 << 31
    var rest = secondByteCount
    var bit = 3
    // x to the number of bits, modulo the polynomial, by its powers x^(2^bit).
    while rest > 0 {
      if rest & 1 == 1 { power = product(power, squares[bit]) }
      rest &>>= 1
      bit = (bit + 1) % 32
    }
    return product(power, first) ^ second
  }

  /// x^(2^n) modulo the polynomial, the lowest power in the highest bit. They repeat after 32.
  private static let squares: [UInt32] = {
    var squares: [UInt32] = [1 << 30]
    for _ in 1..<32 { squares.append(product(squares[squares.count - 1], squares[squares.count - 1])) }
    return squares
  }()

  /// The product of two polynomials modulo that of CRC-32.
  private static func product(_ a: UInt32, _ b: UInt32) -> UInt32 {
    var (result, b) = (UInt32(0), b)
    for bit in (0..<32).reversed() {
      if a >> UInt32(bit) & 1 == 1 { result ^= b }
      b = (b &>> 1) ^ (b & 1 == 1 ? 0xEDB8_8320 : 0)
    }
    return result
  }
}
