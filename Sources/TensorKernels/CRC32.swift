extension Kernels {
  /// CRC-32 as zip records it (reflected polynomial 0xEDB88320), by tables.
  ///
  /// A step must wait for the one before it, so long inputs are read as four pieces side by side: each piece's
  /// result is carried over the length of those behind it.
  ///
  /// - Parameter crc: the result for the bytes before these; 0 at the start.
  public static func crc32(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    guard let base = bytes.baseAddress else { return crc }
    return crcTables.withUnsafeBufferPointer { tables in
      var crc = ~crc
      var i = 0
      while i &+ 4 &* pieceBytes <= bytes.count {
        crc = fourPieces(base + i, crc, tables)
        i &+= 4 &* pieceBytes
      }
      while i &+ 16 <= bytes.count {
        crc = step(base + i, crc, tables)
        i &+= 16
      }
      while i < bytes.count {
        crc = (crc &>> 8) ^ tables[Int((crc ^ UInt32(base.load(fromByteOffset: i, as: UInt8.self))) & 255)]
        i &+= 1
      }
      return ~crc
    }
  }

  private static let pieceBytes = 1 << pieceBits
  private static let pieceBits = 12

  /// 16 bytes.
  @inline(__always)
  private static func step(
    _ source: UnsafeRawPointer, _ crc: UInt32, _ tables: UnsafeBufferPointer<UInt32>
  ) -> UInt32 {
    let low = source.loadUnaligned(as: UInt64.self) ^ UInt64(crc)
    let high = source.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    var result: UInt32 = 0
    for k in 0..<8 {
      result ^= tables[(15 &- k) &* 256 &+ Int((low &>> UInt64(8 &* k)) & 255)]
      result ^= tables[(7 &- k) &* 256 &+ Int((high &>> UInt64(8 &* k)) & 255)]
    }
    return result
  }

  @inline(__always)
  private static func fourPieces(
    _ source: UnsafeRawPointer, _ crc: UInt32, _ tables: UnsafeBufferPointer<UInt32>
  ) -> UInt32 {
    var (first, second, third, fourth) = (crc, UInt32(0), UInt32(0), UInt32(0))
    var i = 0
    while i < pieceBytes {
      first = step(source + i, first, tables)
      second = step(source + (i &+ pieceBytes), second, tables)
      third = step(source + (i &+ 2 &* pieceBytes), third, tables)
      fourth = step(source + (i &+ 3 &* pieceBytes), fourth, tables)
      i &+= 16
    }
    return carried(carried(carried(first, tables) ^ second, tables) ^ third, tables) ^ fourth
  }

  /// The state after `pieceBytes` zero bytes more.
  @inline(__always)
  private static func carried(_ crc: UInt32, _ tables: UnsafeBufferPointer<UInt32>) -> UInt32 {
    var result: UInt32 = 0
    for byte in 0..<4 {
      result ^= tables[(16 &+ byte) &* 256 &+ Int((crc &>> UInt32(8 &* byte)) & 255)]
    }
    return result
  }

  /// Table n below 16 holds the effect of a byte that n further zero bytes follow; the four after them what
  /// `pieceBytes` zero bytes make of each byte of the state.
  private static let crcTables: [UInt32] = {
    var tables: [UInt32] = (0..<256).map { byte in
      var crc = UInt32(byte)
      for _ in 0..<8 { crc = (crc >> 1) ^ (crc & 1 == 1 ? 0xEDB8_8320 : 0) }
      return crc
    }
    for i in 256..<(16 * 256) {
      let previous = tables[i - 256]
      tables.append((previous >> 8) ^ tables[Int(previous & 255)])
    }
    // What one zero byte makes of each bit; then of twice as many bytes each time.
    var bits = (0..<32).map { bit in
      let state = UInt32(1) << UInt32(bit)
      return (state >> 8) ^ tables[Int(state & 255)]
    }
    func image(_ state: UInt32) -> UInt32 {
      bits.indices.reduce(0) { state >> UInt32($1) & 1 == 1 ? $0 ^ bits[$1] : $0 }
    }
    for _ in 0..<pieceBits { bits = bits.map(image) }
    for byte in 0..<4 { tables += (0..<256).map { image(UInt32($0) << UInt32(8 * byte)) } }
    return tables
  }()
}
