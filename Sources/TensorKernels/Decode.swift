// Decoders from little-endian element bytes to Double. They run at any alignment and keep the order of the
// elements. Every conversion but that of 64-bit integers is exact. Plain loops on purpose: nothing here depends
// on the order of operations, so the compiler makes vector code of them by itself.

extension Kernels {
  /// `count` float64 elements.
  public static func decodeFloat64(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<count { target[i] = source.loadUnaligned(fromByteOffset: i &* 8, as: Double.self) }
  }

  /// `count` float32 elements.
  public static func decodeFloat32(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<count { target[i] = Double(source.loadUnaligned(fromByteOffset: i &* 4, as: Float.self)) }
  }

  /// `count` bfloat16 elements: the upper halves of float32 bit patterns.
  public static func decodeBFloat16(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<count {
      let bits = UInt32(source.loadUnaligned(fromByteOffset: i &* 2, as: UInt16.self)) &<< 16
      target[i] = Double(Float(bitPattern: bits))
    }
  }

  /// `count` IEEE half-precision elements, by a table of all 65,536 patterns: without F16C a conversion is a call.
  public static func decodeFloat16(
    _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutablePointer<Double>
  ) {
    float16Table.withUnsafeBufferPointer { table in
      for i in 0..<count {
        target[i] = Double(table[Int(source.loadUnaligned(fromByteOffset: i &* 2, as: UInt16.self))])
      }
    }
  }

  /// `count` integers of type `Element`; 64-bit ones beyond 2^53 are rounded to the nearest Double.
  @inlinable
  public static func decodeInteger<Element: FixedWidthInteger & BitwiseCopyable>(
    _ type: Element.Type, _ source: UnsafeRawPointer, count: Int, into target: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<count {
      target[i] = Double(source.loadUnaligned(fromByteOffset: i &* MemoryLayout<Element>.size, as: type))
    }
  }

  /// `count` one-byte elements through a table of 256 values.
  public static func decodeBytes(
    _ source: UnsafeRawPointer, count: Int, table: UnsafePointer<Double>, into target: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<count { target[i] = table[Int(source.load(fromByteOffset: i, as: UInt8.self))] }
  }

  /// `count` bytes of two 4-bit codes each, low nibble first, through a table of 16 values: 2 × `count` results.
  public static func decodeNibbles(
    _ source: UnsafeRawPointer, count: Int, table: UnsafePointer<Double>, into target: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<count {
      let byte = Int(source.load(fromByteOffset: i, as: UInt8.self))
      target[2 &* i] = table[byte & 15]
      target[2 &* i &+ 1] = table[byte &>> 4]
    }
  }

  private static let float16Table: [Float] = (0...UInt16.max).map { Float(Float16(bitPattern: $0)) }
}
