import Crypto
import Dumps

/// One pass over a tensor's elements in row-major order, in blocks.
struct TensorStatistics {
  /// Over all numbers that the elements decode to, real and imaginary parts alike, in double precision with
  /// compensation: exact to rounding whatever the number of elements.
  private(set) var sum = 0.0
  /// Largest magnitude of a number; NaN where one is NaN, 0 for an empty tensor.
  private(set) var absMax = 0.0
  /// Elements with a NaN or infinity in them.
  private(set) var nonfinite = 0
  /// Of the contiguous little-endian bytes.
  private(set) var sha256 = ""
  /// What the additions have lost so far (Neumaier).
  private var lost = 0.0

  /// - Parameter read: called with the number of bytes after each block.
  init(_ tensor: Tensor, read: (Int) -> Void) throws(DumpError) {
    try tensor.checkRepetition()
    let reader = try TensorReader(tensor)
    let dtype = tensor.dtype
    let step = (256 << 10) / dtype.byteCount
    var hash = SHA256()
    var bytes: [UInt8] = []
    var values: [Double] = []
    var start = 0
    while start < reader.elementCount {
      let end = min(start + step, reader.elementCount)
      try reader.read(start..<end, into: &bytes)
      bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
      let count = (end - start) * dtype.valuesPerElement
      if values.count != count { values = [Double](repeating: 0, count: count) }
      bytes.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) } }
      add(values, perElement: dtype.valuesPerElement)
      read(bytes.count)
      start = end
    }
    if sum.isFinite { sum += lost }
    sha256 = hash.finalize().map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0\(digits)" : digits
    }.joined()
  }

  private mutating func add(_ values: [Double], perElement: Int) {
    values.withUnsafeBufferPointer { values in
      var isFinite = true
      for (place, value) in values.enumerated() {
        let next = sum + value
        lost += sum.magnitude >= value.magnitude ? (sum - next) + value : (value - next) + sum
        sum = next
        absMax = value.isNaN || absMax.isNaN ? .nan : max(absMax, value.magnitude)
        if !value.isFinite { isFinite = false }
        if (place + 1) % perElement == 0 {
          if !isFinite { nonfinite += 1 }
          isFinite = true
        }
      }
    }
  }
}
