import Dumps
import TensorLanes

/// How a kernel reads a type's values in place.
struct DTypeLanes {
  var lanes: LaneFormat
  /// What each code stands for; empty where the format has none.
  var table: [Float] = []
}

extension DType {
  var laneFormat: DTypeLanes {
    switch self {
    case .float64, .complex128: DTypeLanes(lanes: .float64)
    case .float32, .complex64: DTypeLanes(lanes: .float32)
    case .float16, .complex32: DTypeLanes(lanes: .float16)
    case .bfloat16: DTypeLanes(lanes: .bfloat16)
    case .int64: DTypeLanes(lanes: .int64)
    case .int32: DTypeLanes(lanes: .int32)
    case .int16: DTypeLanes(lanes: .int16)
    case .uint64: DTypeLanes(lanes: .uint64)
    case .uint32: DTypeLanes(lanes: .uint32)
    case .uint16: DTypeLanes(lanes: .uint16)
    case .float4E2M1FNx2: DTypeLanes(lanes: .nibbleCodes, table: codeTable)
    case .int8: DTypeLanes(lanes: .int8)
    case .uint8: DTypeLanes(lanes: .uint8)
    case .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU, .bool:
      DTypeLanes(lanes: .byteCodes, table: codeTable)
    }
  }

  private var codeTable: [Float] { Self.codeTables[self] ?? [] }

  /// Every code of the types that are read by table, decoded. Single precision holds them all exactly.
  private static let codeTables: [DType: [Float]] = {
    var tables: [DType: [Float]] = [:]
    for dtype in allCases where dtype.byteCount == 1 {
      let codes: [UInt8] = Array(0...255)
      var values = Array(repeating: 0.0, count: 256 * dtype.valuesPerElement)
      codes.withUnsafeBytes { codes in values.withUnsafeMutableBufferPointer { dtype.decode(codes, into: $0) } }
      // Of two numbers a byte the first is the low nibble's.
      tables[dtype] =
        dtype.valuesPerElement == 1 ? values.map { Float($0) } : (0..<16).map { Float(values[2 * $0]) }
    }
    return tables
  }()
}
