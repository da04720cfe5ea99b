import Alignment
import Dumps

/// A table of cosines and sines by position, which each side computes for itself although it stands among parameters.
struct RotaryTable {
  let judgement: Judgement

  /// What an angle of 1 is off by at each position: frequencies in float32 differ by an ulp, and products are rounded.
  private static let angle = 2 * DType.float32.epsilon
  /// No angle is excused beyond this, however far the position.
  private static let ceiling = 0.05

  /// nil where the row is no such table of finite values, one row a position, or its ranks differ.
  init?(_ row: JudgedRow) {
    let name = row.key.tensor.split(separator: ".").last.map(String.init) ?? ""
    let measures = row.measures
    let positions = measures.tokenRelL2.count
    guard ["cos_sin_cache", "cos_cached", "sin_cached"].contains(name), row.divergentRanks.isEmpty, positions > 1,
      measures.tokenNorms.count == positions, measures.elementCount % positions == 0
    else { return nil }
    let width = Double(measures.elementCount / positions).squareRoot()
    // A few ulp of 1, and the angle's own rounding.
    let unit = max(2 * row.dtype.epsilon, 4 * DType.float32.epsilon)
    func allowed(_ position: Int) -> Double { unit + min(Self.angle * Double(position), Self.ceiling) }
    // Root mean square over the row, absolute.
    let distances = (0..<positions).map { position in
      let relative = measures.tokenRelL2[position]
      return relative == 0 ? 0 : relative * measures.tokenNorms[position] / width
    }
    let tokens = distances.indices.filter { !(distances[$0] <= allowed($0)) }
      .sorted { (distances[$1], $0) < (distances[$0], $1) }
    var result = Judgement(verdict: .pass, floor: unit, tokens: tokens)
    if let worst = tokens.first {
      (result.verdict, result.why) = (
        .fail,
        "row \(worst) is off by \(Float(distances[worst])), more than rounding of its angles and values gives "
          + "(\(Float(allowed(worst))))"
      )
    } else if !(measures.maxAbs <= 4 * allowed(positions - 1)) {
      (result.verdict, result.why) = (
        .fail,
        "a value is off by \(Float(measures.maxAbs)), more than rounding of its angle gives at any position"
      )
    } else if measures.maxAbs > 0 {
      result.why = "computed by each side: judged by the rounding of angles and values, not as loaded"
    }
    judgement = result
  }
}
