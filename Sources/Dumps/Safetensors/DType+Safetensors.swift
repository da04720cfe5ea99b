extension DType {
  /// The name in a safetensors header; nil where the format has none.
  var safetensorsName: String? { Self.safetensorsNames[self] }

  /// The type that a safetensors header calls so; nil for unknown names, and for those torch has no type for.
  init?(safetensorsName: String) {
    guard let dtype = Self.safetensorsTypes[safetensorsName] else { return nil }
    self = dtype
  }

  /// The one table for reader and writer. `F4` counts nibbles where torch counts pairs of them.
  private static let safetensorsNames: [DType: String] = [
    .float64: "F64", .float32: "F32", .float16: "F16", .bfloat16: "BF16", .float8E4M3FN: "F8_E4M3",
    .float8E4M3FNUZ: "F8_E4M3FNUZ", .float8E5M2: "F8_E5M2", .float8E5M2FNUZ: "F8_E5M2FNUZ",
    .float8E8M0FNU: "F8_E8M0", .float4E2M1FNx2: "F4", .int64: "I64", .int32: "I32", .int16: "I16", .int8: "I8",
    .uint64: "U64", .uint32: "U32", .uint16: "U16", .uint8: "U8", .bool: "BOOL", .complex64: "C64",
  ]
  private static let safetensorsTypes = Dictionary(uniqueKeysWithValues: safetensorsNames.map { ($1, $0) })
}
