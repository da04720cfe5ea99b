import TensorLanes

/// Bytes of both sides of one format, and the numbers they stand for, decoded one by one.
struct Samples {
  let format: LaneFormat
  var target: [UInt8]
  var reference: [UInt8]

  /// Numbers for the codes of the formats that have some.
  let table: [Float]

  /// None is like its code, all have as few bits as bfloat16.
  static let shortNumbers: [Float] = (0..<256).map { $0 == 255 ? .nan : Float($0 * $0 % 97) - 40 }

  /// Of usual size and finite, or any bytes there are: NaN, infinity and numbers below normal among them.
  enum Kind: CaseIterable {
    case tame
    case wild
  }

  /// With more bits than bfloat16 holds, but for two.
  static let longNumbers: [Float] = (0..<256).map { $0 == 255 ? .nan : $0 == 1 ? 1 : 1 / Float($0 + 3) }

  init(_ format: LaneFormat, _ kind: Kind, count: Int, seed: UInt64, table: [Float] = shortNumbers) {
    self.format = format
    self.table = table
    var state = seed
    func side() -> [UInt8] {
      var bytes = (0..<((count * format.bitCount + 7) / 8)).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
      }
      guard kind == .tame else { return bytes }
      switch format {
      case .float64, .float32, .float16, .bfloat16:
        let size = format.bitCount / 8
        for index in stride(from: size - 1, to: bytes.count, by: size) { bytes[index] = bytes[index] & 0x81 | 0x38 }
      case .byteCodes: bytes = bytes.map { $0 == 255 ? 7 : $0 }
      default: break
      }
      return bytes
    }
    target = side()
    reference = side()
  }

  var targetValues: [Double] { decoded(target) }
  var referenceValues: [Double] { decoded(reference) }

  private func decoded(_ bytes: [UInt8]) -> [Double] {
    func elements<Element: FixedWidthInteger>(_ type: Element.Type) -> [Element] {
      let size = MemoryLayout<Element>.size
      return stride(from: 0, to: bytes.count, by: size).map { start in
        (0..<size).reduce(0) { $0 | Element(truncatingIfNeeded: bytes[start + $1]) << Element(8 * $1) }
      }
    }
    return switch format {
    case .float64: elements(UInt64.self).map { Double(bitPattern: $0) }
    case .float32: elements(UInt32.self).map { Double(Float(bitPattern: $0)) }
    case .float16: elements(UInt16.self).map { Double(Float16(bitPattern: $0)) }
    case .bfloat16: elements(UInt16.self).map { Double(Float(bitPattern: UInt32($0) << 16)) }
    case .int64: elements(Int64.self).map { Double($0) }
    case .int32: elements(Int32.self).map { Double($0) }
    case .int16: elements(Int16.self).map { Double($0) }
    case .uint64: elements(UInt64.self).map { Double($0) }
    case .uint32: elements(UInt32.self).map { Double($0) }
    case .uint16: elements(UInt16.self).map { Double($0) }
    case .int8: elements(Int8.self).map { Double($0) }
    case .uint8: bytes.map { Double($0) }
    case .byteCodes: bytes.map { Double(table[Int($0)]) }
    case .nibbleCodes: bytes.flatMap { [Double(table[Int($0 & 15)]), Double(table[Int($0 >> 4)])] }
    }
  }
}
