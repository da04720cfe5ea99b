import Alignment
import Comparison

/// Reads a failing pair of 8-bit floats once more, for which code meets which.
enum CodeProbe {
  private static let blockElements = 1 << 20

  /// nil where a side is no such tensor, or a sum of ranks, which has no codes of its own.
  static func relation(_ decision: ShardDecision) throws -> CodeRelation? {
    let (target, reference) = (decision.target, decision.reference)
    guard CodeHistogram.holds(target.dtype), CodeHistogram.holds(reference.dtype), !target.isSum, !reference.isSum,
      target.shape == reference.shape
    else { return nil }
    var readers = (target: try target.makeReader(), reference: try reference.makeReader())
    var bytes: (target: [UInt8], reference: [UInt8]) = ([], [])
    var histogram = CodeHistogram()
    for start in stride(from: 0, to: target.elementCount, by: blockElements) {
      let range = start..<min(start + blockElements, target.elementCount)
      try readers.target.readBytes(range, into: &bytes.target)
      try readers.reference.readBytes(range, into: &bytes.reference)
      histogram.add(target: bytes.target, reference: bytes.reference)
    }
    return histogram.relation(target: target.dtype, reference: reference.dtype)
  }
}
