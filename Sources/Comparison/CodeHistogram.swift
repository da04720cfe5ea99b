public import Dumps

/// How often each code of the reference meets each code of the target, for two tensors of 8-bit floats: what maps to
/// what follows from it exactly.
public struct CodeHistogram: Sendable {
  /// By reference · 256 + target.
  private var counts = Array(repeating: 0, count: 1 << 16)

  public init() {}

  public static func holds(_ dtype: DType) -> Bool { mantissaBits(dtype) != nil }

  /// - Parameters:
  ///   - target: one byte an element.
  ///   - reference: as many.
  public mutating func add(target: [UInt8], reference: [UInt8]) {
    for (a, b) in zip(target, reference) { counts[Int(b) << 8 | Int(a)] += 1 }
  }

  private func count(where isMeant: (_ target: Int, _ reference: Int) -> Bool) -> Int {
    counts.indices.reduce(0) { isMeant($1 & 0xFF, $1 >> 8) ? $0 + counts[$1] : $0 }
  }

  /// What the codes say; nil where a type is no 8-bit float, or there is no element.
  public func relation(target: DType, reference: DType) -> CodeRelation? {
    guard let bits = Self.mantissaBits(reference), Self.mantissaBits(target) != nil else { return nil }
    let all = counts.reduce(0, +)
    guard all > 0 else { return nil }
    var relation = CodeRelation(target: target, reference: reference, elements: all)
    relation.distinct = (0..<256).count { code in (0..<256).contains { counts[code << 8 | $0] > 0 } }
    relation.same = count { $0 == $1 }
    let unit = 1 << bits
    // Normal numbers of the reference whose shifted codes are normal numbers, too.
    let most = 0x7F - unit
    for shift in [-1, 1] where target == reference {
      func isInside(_ code: Int) -> Bool { (2 * unit...most).contains(code & 0x7F) }
      let inside = count { isInside($1) }
      let moved = count { isInside($1) && $0 == $1 + shift * unit }
      if inside > 0, moved == inside { relation.shift = shift }
    }
    relation.negativeZeros = count { target, _ in target == 0x80 }
    relation.lostNegativeZeros = count { $1 == 0x80 && $0 == 0 }
    relation.gainedNegativeZeros = count { $1 == 0 && $0 == 0x80 }
    return relation
  }

  private static func mantissaBits(_ dtype: DType) -> Int? {
    switch dtype {
    case .float8E4M3FN, .float8E4M3FNUZ: 3
    case .float8E5M2, .float8E5M2FNUZ: 2
    default: nil
    }
  }
}

/// How the codes of two tensors of 8-bit floats belong together.
public struct CodeRelation: Sendable, Hashable, Codable {
  public var target: DType
  public var reference: DType
  public var elements: Int
  /// Codes that the reference holds.
  public var distinct = 0
  /// Elements with the same code on both sides.
  public var same = 0
  /// Exponents that every normal number was moved by: -1 is half, 1 is double; nil where they were not moved alike, or
  /// the types differ.
  public var shift: Int?
  /// Elements of the target with the code 0x80: -0, and in the types of one zero NaN.
  public var negativeZeros = 0
  /// Elements with the code 0x80 in the reference and 0 in the target.
  public var lostNegativeZeros = 0
  /// Elements with the code 0 in the reference and 0x80 in the target.
  public var gainedNegativeZeros = 0

  public init(target: DType, reference: DType, elements: Int) {
    (self.target, self.reference, self.elements) = (target, reference, elements)
  }

  /// All bytes are the same, and the types are not.
  public var isReinterpreted: Bool { target != reference && same == elements && distinct > 1 }

  /// Twice the reference and without its -0, as numbers that were rounded to a type of one zero and are read as one of
  /// two; or half of it with NaN for zeros, the other way round.
  public var isOtherVariant: Bool {
    switch (reference, shift) {
    case (.float8E4M3FN, .some(1)), (.float8E5M2, .some(1)): lostNegativeZeros > 0 && negativeZeros == 0
    case (.float8E4M3FNUZ, .some(-1)), (.float8E5M2FNUZ, .some(-1)): gainedNegativeZeros > 0
    default: false
    }
  }
}
