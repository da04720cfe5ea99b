import Dumps
import TensorKernels

extension DType {
  /// How a kernel reads the values in place; nil where they are decoded first.
  var laneFormat: LaneFormat? {
    switch self {
    case .float64, .complex128: .float64
    case .float32, .complex64: .float32
    case .float16, .complex32: .float16
    case .bfloat16: .bfloat16
    default: nil
    }
  }

  /// Decodes whole elements; `values` afterwards holds exactly theirs.
  func decode(_ bytes: UnsafeRawBufferPointer, into values: inout [Double]) {
    let count = bytes.count / byteCount * valuesPerElement
    if values.count != count { values = Array(repeating: 0, count: count) }
    values.withUnsafeMutableBufferPointer { decode(bytes, into: $0) }
  }
}
