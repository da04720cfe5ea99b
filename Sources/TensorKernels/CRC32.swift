import CDeflate
import CKernels

/// How CRC-32 goes over long runs of bytes.
package enum ChecksumLoop: Int, Sendable, CaseIterable {
  /// libdeflate's own.
  case library = 0
  #if arch(x86_64)
    /// Carry-less products of registers of 32 bytes.
    case fold32 = 32
    /// The same of 64 bytes.
    case fold64 = 64
  #endif

  /// The quickest that this machine runs.
  package static let current = available.last ?? .library

  /// Those that this machine runs, slowest first.
  package static let available: [ChecksumLoop] = {
    let width = Int(kernels_fold_width())
    return allCases.filter { $0.rawValue <= width }
  }()
}

extension Kernels {
  /// CRC-32 as zip records it (reflected polynomial 0xEDB88320).
  ///
  /// - Parameter crc: the result for the bytes before these; 0 at the start.
  public static func crc32(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    crc32(bytes, continuing: crc, by: .current)
  }

  package static func crc32(
    _ bytes: UnsafeRawBufferPointer, continuing crc: UInt32, by loop: ChecksumLoop
  ) -> UInt32 {
    // For libdeflate no bytes at all mean a new start, whatever `crc` is.
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return crc }
    #if arch(x86_64)
      let rounds = bytes.count / Int(KERNELS_FOLD_BYTES)
      // Below that the two calls cost more than the folding saves.
      if loop != .library, rounds >= 4 {
        let folded = withUnsafeTemporaryAllocation(byteCount: Int(KERNELS_FOLD_BYTES), alignment: 64) { sum in
          if loop == .fold64 {
            kernels_fold64(base, rounds, ~crc, sum.baseAddress)
          } else {
            kernels_fold32(base, rounds, ~crc, sum.baseAddress)
          }
          // From a register of 0, which is 1s inverted.
          return libdeflate_crc32(.max, sum.baseAddress, sum.count)
        }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[(rounds * Int(KERNELS_FOLD_BYTES))...])
        return crc32(rest, continuing: folded, by: .library)
      }
    #endif
    return libdeflate_crc32(crc, base, bytes.count)
  }

  /// CRC-32 of the bytes of `first` followed by those of `second`, from the CRC-32 of each; as zlib's `crc32_combine`
  /// has it.
  ///
  /// A CRC is a polynomial modulo P, so what `secondByteCount` bytes more make of `first` is its product with
  /// x^(8 · secondByteCount) mod P.
  ///
  /// - Parameter secondByteCount: bytes that `second` stands for, 0 or more.
  public static func crc32Combined(first: UInt32, second: UInt32, secondByteCount: Int) -> UInt32 {
    var result = first
    var rest = secondByteCount
    while rest > 0 {
      result = product(result, powers[rest.trailingZeroBitCount])
      rest &= rest - 1
    }
    return result ^ second
  }

  /// x^(8 · 2^i) modulo P at i. Reflected: the highest bit is the coefficient of 1, the one below it that of x.
  private static let powers: [UInt32] = {
    var powers: [UInt32] = [1 << 23]
    while powers.count < Int.bitWidth { powers.append(product(powers[powers.count - 1], powers[powers.count - 1])) }
    return powers
  }()

  /// The product of two polynomials modulo P.
  private static func product(_ left: UInt32, _ right: UInt32) -> UInt32 {
    var result: UInt32 = 0
    var right = right
    for bit in (0..<32).reversed() {
      if left >> UInt32(bit) & 1 == 1 { result ^= right }
      right = (right >> 1) ^ (right & 1 == 1 ? 0xEDB8_8320 : 0)
    }
    return result
  }
}
