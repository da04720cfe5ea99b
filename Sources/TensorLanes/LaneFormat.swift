/// Element formats that the one-pass kernels read as they stand in the file, little-endian.
public enum LaneFormat: Sendable, CaseIterable {
  case float64
  case float32
  case float16
  case bfloat16
  case int64
  case int32
  case int16
  case uint64
  case uint32
  case uint16
  case int8
  case uint8
  /// One-byte codes, each standing for an entry of a table of 256 numbers.
  case byteCodes
  /// Two 4-bit codes a byte, low nibble first, each standing for an entry of a table of 16 numbers.
  case nibbleCodes

  /// Bits of one value.
  public var bitCount: Int {
    switch self {
    case .float64, .int64, .uint64: 64
    case .float32, .int32, .uint32: 32
    case .float16, .bfloat16, .int16, .uint16: 16
    case .int8, .uint8, .byteCodes: 8
    case .nibbleCodes: 4
    }
  }
}
