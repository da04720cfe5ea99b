/// The element type of a tensor, named as PyTorch names it (`torch.bfloat16` is `bfloat16`).
public enum DType: String, Sendable, Hashable, Codable, CaseIterable {
  case float64
  case float32
  case float16
  case bfloat16
  case float8E4M3FN = "float8_e4m3fn"
  case float8E4M3FNUZ = "float8_e4m3fnuz"
  case float8E5M2 = "float8_e5m2"
  case float8E5M2FNUZ = "float8_e5m2fnuz"
  case float8E8M0FNU = "float8_e8m0fnu"
  /// Two 4-bit floats a byte, low nibble first; one element of the shape is one byte.
  case float4E2M1FNx2 = "float4_e2m1fn_x2"
  case int64
  case int32
  case int16
  case int8
  case uint64
  case uint32
  case uint16
  case uint8
  case bool
  case complex32
  case complex64
  case complex128

  /// Bytes one element takes on disk.
  public var byteCount: Int {
    switch self {
    case .complex128: 16
    case .float64, .int64, .uint64, .complex64: 8
    case .float32, .int32, .uint32, .complex32: 4
    case .float16, .bfloat16, .int16, .uint16: 2
    default: 1
    }
  }
}
