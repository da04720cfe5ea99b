import Dumps
import Glibc

/// A file of raw elements that is removed at the end.
final class RawFile {
  let path: String

  init(_ bytes: [UInt8]) throws {
    var template = Array("/tmp/rollcall-benchmark-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    path = template.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    guard descriptor >= 0 else { throw InputError(path: path, code: errno) }
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
      let written = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress.map { $0 + done }, bytes.count - done) }
      guard written > 0 else { throw InputError(path: path, code: errno) }
      done += written
    }
  }

  deinit { unlink(path) }

  /// The whole file as one tensor.
  func tensor(_ dtype: DType, shape: [Int]) -> Tensor {
    var strides: [Int] = []
    var step = 1
    for size in shape.reversed() {
      strides.insert(step, at: 0)
      step *= size
    }
    return Tensor(
      name: "hidden", dtype: dtype, shape: shape, strides: strides, storageOffset: 0,
      storage: StorageRegion(path: path, offset: 0, byteCount: step * dtype.byteCount))
  }
}

struct InputError: Error, CustomStringConvertible {
  var path: String
  var code: Int32
  var description: String { "\(path): cannot be written: \(String(cString: strerror(code)))" }
}

/// Values like activations, the same in every run.
struct Values {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> Float {
    // SplitMix64; the sum of four uniform values is near enough to a normal one.
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    word ^= word >> 31
    var sum: Float = 0
    for shift in [0, 16, 32, 48] as [UInt64] { sum += Float((word >> shift) & 0xFFFF) / 65536 - 0.5 }
    return sum * 1.7
  }
}

/// `values` as little-endian elements of `dtype`. 8-bit types take the upper bits of float16: any bits do for time.
func encoded(_ values: [Float], as dtype: DType) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(values.count * dtype.byteCount)
  for value in values {
    switch dtype {
    case .float32: withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
    case .bfloat16:
      withUnsafeBytes(of: UInt16(truncatingIfNeeded: value.bitPattern >> 16).littleEndian) { bytes += $0 }
    case .float16: withUnsafeBytes(of: Float16(value).bitPattern.littleEndian) { bytes += $0 }
    default: bytes.append(UInt8(truncatingIfNeeded: Float16(value).bitPattern >> 8))
    }
  }
  return bytes
}
