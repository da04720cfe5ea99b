import Alignment
import Comparison
import Dumps

/// 8-bit floats whose codes show that one side's are read as another type.
enum CodeFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let codes = evidence.codes, codes.isReinterpreted || codes.isOtherVariant else { return [] }
    let (left, right) = (codes.reference.rawValue, codes.target.rawValue)
    let seen =
      codes.isReinterpreted
      ? "the same \(codes.elements) bytes are \(left) in the reference and \(right) in the target"
      : codes.shift == 1
        ? "every normal number is twice the reference's, and \(codes.lostNegativeZeros) negative zeros are positive: "
          + "codes of the variant with one zero, read as \(right)"
        : "every normal number is half the reference's, and \(codes.gainedNegativeZeros) of its zeros are NaN: codes of "
          + "the variant with two zeros, read as \(right)"
    var numbers = ["same_codes": Double(codes.same) / Double(codes.elements), "alpha": evidence.measures.alpha]
    if let shift = codes.shift { numbers["exponent_shift"] = Double(shift) }
    let variant = evidence.finding(
      "float8-variant", codes.shift == 1 ? .likely : .certain, evidence: numbers,
      summary: "\(evidence.place): \(seen).",
      next: "Look where the float8 type is taken from (checkpoint, platform, kernel), and convert codes and scales "
        + "together: the variants differ by a factor of two and by the code 0x80.")
    guard codes.shift == 1 else { return [variant] }
    return [
      variant,
      evidence.finding(
        "repeated-scale", .possible, evidence: numbers,
        summary: "A factor of two applied twice, and a sum that left no negative zero, would look the same.",
        next: "Compare the weight bytes, their float8 type and their scales with the checkpoint's."),
    ]
  }
}
