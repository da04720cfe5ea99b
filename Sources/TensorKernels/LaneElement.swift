/// How a kernel reads one element format, at any alignment.
///
/// Eight neighbours are read as two halves of four: the two sweeps of a kernel then need few enough registers for
/// plain SSE2. Which four make a half is the format's choice.
protocol LaneElement {
  static var byteCount: Int { get }
  /// Four of the eight values at `source`.
  static func half(_ source: UnsafeRawPointer, isSecond: Bool) -> SIMD4<Double>
  /// Whether the halves are the even and the odd lanes; else the low and the high ones.
  static var isInterleaved: Bool { get }
  static func value(_ source: UnsafeRawPointer) -> Double
}

enum Float64Element: LaneElement {
  static var byteCount: Int { 8 }
  static var isInterleaved: Bool { false }

  @inline(__always)
  static func half(_ source: UnsafeRawPointer, isSecond: Bool) -> SIMD4<Double> {
    source.loadUnaligned(fromByteOffset: isSecond ? 32 : 0, as: SIMD4<Double>.self)
  }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double { source.loadUnaligned(as: Double.self) }
}

enum Float32Element: LaneElement {
  static var byteCount: Int { 4 }
  static var isInterleaved: Bool { false }

  @inline(__always)
  static func half(_ source: UnsafeRawPointer, isSecond: Bool) -> SIMD4<Double> {
    SIMD4<Double>(source.loadUnaligned(fromByteOffset: isSecond ? 16 : 0, as: SIMD4<Float>.self))
  }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double { Double(source.loadUnaligned(as: Float.self)) }
}

/// The upper halves of float32 patterns: of a word of two elements, the even one is shifted, the odd one masked.
enum BFloat16Element: LaneElement {
  static var byteCount: Int { 2 }
  static var isInterleaved: Bool { true }

  @inline(__always)
  static func half(_ source: UnsafeRawPointer, isSecond: Bool) -> SIMD4<Double> {
    let words = source.loadUnaligned(as: SIMD4<UInt32>.self)
    let bits = isSecond ? words & SIMD4(repeating: 0xFFFF_0000) : words &<< SIMD4(repeating: 16)
    return SIMD4<Double>(unsafeBitCast(bits, to: SIMD4<Float>.self))
  }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double {
    Double(Float(bitPattern: UInt32(source.loadUnaligned(as: UInt16.self)) &<< 16))
  }
}

/// IEEE half precision by integer operations: without F16C a conversion is a call.
enum Float16Element: LaneElement {
  static var byteCount: Int { 2 }
  static var isInterleaved: Bool { true }

  @inline(__always)
  static func half(_ source: UnsafeRawPointer, isSecond: Bool) -> SIMD4<Double> {
    let words = source.loadUnaligned(as: SIMD4<UInt32>.self)
    let halves = isSecond ? words &>> SIMD4(repeating: 16) : words & SIMD4(repeating: 0xFFFF)
    let sign = (halves & SIMD4(repeating: 0x8000)) &<< SIMD4(repeating: 16)
    let magnitude = (halves & SIMD4(repeating: 0x7FFF)) &<< SIMD4(repeating: 13)
    // Exponent and fraction in place; the product moves the bias from 15 to 127 and is exact, below normal, too.
    let scaled = unsafeBitCast(magnitude, to: SIMD4<Float>.self) * SIMD4(repeating: 0x1p112)
    // What comes out at 2^16 or more had the exponent of infinity and NaN.
    let isSpecial = unsafeBitCast(scaled .>= SIMD4(repeating: 0x1p16), to: SIMD4<UInt32>.self)
    let bits = unsafeBitCast(scaled, to: SIMD4<UInt32>.self) | sign | (isSpecial & SIMD4(repeating: 0x7F80_0000))
    return SIMD4<Double>(unsafeBitCast(bits, to: SIMD4<Float>.self))
  }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double {
    Double(Float(Float16(bitPattern: source.loadUnaligned(as: UInt16.self))))
  }
}
