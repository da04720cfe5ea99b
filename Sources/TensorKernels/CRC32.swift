extension Kernels {
  /// CRC-32 as zip records it (reflected polynomial 0xEDB88320), 16 bytes a step by tables.
  ///
  /// - Parameter crc: the result for the bytes before these; 0 at the start.
  public static func crc32(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    guard let base = bytes.baseAddress else { return crc }
    return crcTables.withUnsafeBufferPointer { tables in
      var crc = ~crc
      var i = 0
      while i &+ 16 <= bytes.count {
        let low = base.loadUnaligned(fromByteOffset: i, as: UInt64.self) ^ UInt64(crc)
        let high = base.loadUnaligned(fromByteOffset: i &+ 8, as: UInt64.self)
        crc = 0
        for k in 0..<8 {
          crc ^= tables[(15 &- k) &* 256 &+ Int((low &>> UInt64(8 &* k)) & 255)]
          crc ^= tables[(7 &- k) &* 256 &+ Int((high &>> UInt64(8 &* k)) & 255)]
        }
        i &+= 16
      }
      while i < bytes.count {
        crc = (crc &>> 8) ^ tables[Int((crc ^ UInt32(base.load(fromByteOffset: i, as: UInt8.self))) & 255)]
        i &+= 1
      }
      return ~crc
    }
  }

  /// Table n holds the effect of a byte that n further zero bytes follow.
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
    return tables
  }()
}
