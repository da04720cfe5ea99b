import Dumps
import TensorKernels
import TestSupport
import Testing

@Suite struct DTypeTests {
  @Test("epsilon is half the gap between 1 and the next number of the type")
  func epsilon() {
    #expect(DType.float64.epsilon == Double.ulpOfOne / 2)
    #expect(DType.float32.epsilon == Double(Float.ulpOfOne) / 2)
    #expect(DType.float16.epsilon == Double(Float16.ulpOfOne) / 2)
    for dtype in [DType.bfloat16, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU] {
      let codes: [UInt8] =
        dtype.byteCount == 2
        ? (0...UInt16.max).flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] } : Array(0...UInt8.max)
      var values = [Double](repeating: 0, count: codes.count / dtype.byteCount)
      codes.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) } }
      let next = values.filter { $0 > 1 }.min()
      #expect(next.map { ($0 - 1) / 2 } == dtype.epsilon, "\(dtype)")
    }
    #expect(DType.int64.epsilon == 0)
  }

  @Test func decodesAtAnyAlignment() {
    let numbers: [Float] = [1.5, -2, .infinity, 0]
    let bytes: [UInt8] =
      [9] + numbers.flatMap { number in (0..<4).map { UInt8((number.bitPattern >> (8 * $0)) & 255) } }
    var values = [Double](repeating: 0, count: 4)
    bytes.withUnsafeBytes { bytes in
      values.withUnsafeMutableBufferPointer {
        DType.float32.decode(UnsafeRawBufferPointer(rebasing: bytes[1...]), into: $0)
      }
    }
    #expect(values == [1.5, -2, .infinity, 0])
  }

  @Test("CRC-32 of the check string, in one piece and in many", arguments: [1, 3, 16, 17, 64])
  func crc32(step: Int) {
    let check = Array("123456789".utf8)
    #expect(check.withUnsafeBytes { Kernels.crc32($0) } == 0xCBF4_3926)
    var random = SplitMix64(seed: 3)
    let bytes = (0..<1000).map { _ in UInt8.random(in: 0...255, using: &random) }
    // The definition, bit by bit.
    var slow: UInt32 = .max
    for byte in bytes {
      slow ^= UInt32(byte)
      for _ in 0..<8 { slow = (slow >> 1) ^ (slow & 1 == 1 ? 0xEDB8_8320 : 0) }
    }
    var crc: UInt32 = 0
    for start in stride(from: 0, to: bytes.count, by: step) {
      crc = bytes[start..<min(start + step, bytes.count)].withUnsafeBytes { Kernels.crc32($0, continuing: crc) }
    }
    #expect(crc == ~slow)
  }
}
