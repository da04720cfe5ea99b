import TestSupport

/// Makes one input from seeds, the same for the same number.
struct Mutator {
  private var random: SplitMix64

  init(seed: UInt64) { random = SplitMix64(seed: seed &* 0x9E37_79B9_7F4A_7C15) }

  mutating func int(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }

  mutating func pick<Value>(_ values: [Value]) -> Value { values[int(0..<values.count)] }

  /// Numbers that sizes, counts and offsets go wrong at.
  static let interesting: [UInt64] = [
    0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 1023, 1024, 4095, 4096, 32767, 32768,
    65534, 65535, 65536, 1 << 20, 1 << 24, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF, 1 << 32, 1 << 40,
    0x0FFF_FFFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFE, 0x7FFF_FFFF_FFFF_FFFF, 1 << 63, .max - 1, .max,
  ]

  /// One to six damages, mostly one, anywhere in a range.
  ///
  /// - Parameters:
  ///   - words: what the format gives a meaning to.
  ///   - donors: other inputs, to splice from.
  mutating func damage(_ bytes: inout [UInt8], words: [[UInt8]], donors: [[UInt8]]) {
    for _ in 0..<pick([1, 1, 1, 2, 2, 3, 6]) {
      guard !bytes.isEmpty else { return }
      let at = int(0..<bytes.count)
      switch int(0..<11) {
      case 0: bytes[at] ^= 1 << UInt8(int(0..<8))
      case 1: bytes[at] = pick([0, 1, 0x7F, 0x80, 0x81, 0xFE, 0xFF, 0x0A, 0x20])
      case 2: bytes[at] = UInt8(int(0..<256))
      case 3: overwrite(&bytes, at: at, with: pick(words))
      case 4: bytes.insert(contentsOf: pick(words), at: at)
      case 5: overwrite(&bytes, at: at, with: number())
      case 6:
        if int(0..<8) == 0 { bytes.removeSubrange(at...) } else { bytes.removeSubrange(block(bytes, from: at)) }
      case 7:
        let copy = Array(bytes[block(bytes, from: at)])
        for _ in 0..<pick([1, 1, 1, 2, 8, 64]) where bytes.count < 1 << 17 {
          bytes.insert(contentsOf: copy, at: int(0..<bytes.count + 1))
        }
      case 8:
        let donor = pick(donors)
        guard !donor.isEmpty else { break }
        bytes.insert(contentsOf: donor[block(donor, from: int(0..<donor.count))], at: at)
      case 9:
        let donor = pick(donors)
        guard !donor.isEmpty else { break }
        let cut = int(0..<donor.count)
        bytes = Array(bytes[..<at]) + donor[cut...]
      default:
        // A neighbour changes places with this one.
        let other = int(0..<bytes.count)
        bytes.swapAt(at, other)
      }
    }
  }

  /// Overwrites without growing.
  func overwrite(_ bytes: inout [UInt8], at place: Int, with new: [UInt8]) {
    for (offset, byte) in new.enumerated() where place + offset < bytes.count { bytes[place + offset] = byte }
  }

  /// An interesting number of 1, 2, 4 or 8 bytes, little-endian.
  mutating func number() -> [UInt8] { number(width: pick([1, 2, 4, 4, 8])) }

  mutating func number(width: Int) -> [UInt8] {
    let value = pick(Self.interesting)
    return (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
  }

  private mutating func block(_ bytes: [UInt8], from start: Int) -> Range<Int> {
    start..<min(bytes.count, start + pick([1, 2, 4, 8, 16, 64, 256]))
  }
}
