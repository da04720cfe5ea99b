import Alignment
import Comparison
import Dumps

extension ReportBuilder {
  /// A checkpoint's codes of 8 bits that are kept when they are read as the other variant, where the scale beside them
  /// has taken the factor of two in, are the same weights: neither the codes nor the scale is a divergence.
  ///
  /// - Returns: for each outcome that is excused so, by its position, why.
  func variantConversions() -> [Int: String] {
    guard matching.areParameters, case .measured = request.policy else { return [:] }
    let places = Dictionary(outcomes.indices.map { (outcomes[$0].key, $0) }, uniquingKeysWith: { first, _ in first })
    func scales(_ index: Int, _ names: [String]) -> [Int] {
      names.compactMap { name in
        places[CaptureKey(layer: outcomes[index].key.layer, stage: outcomes[index].key.stage, tensor: name)]
      }
    }
    // What each scale belongs to: all of it must have been converted.
    var owners: [Int: [Int]] = [:]
    let codes = outcomes.indices.filter { outcomes[$0].dtype.byteCount == 1 && outcomes[$0].dtype != .float8E8M0FNU }
    for index in codes {
      for scale in scales(index, Self.scaleNames(of: outcomes[index].key.tensor)) {
        owners[scale, default: []].append(index)
      }
    }
    func product(_ index: Int) -> Double? {
      let own = scales(index, Self.scaleNames(of: outcomes[index].key.tensor))
      guard isOtherVariant(index), let factor = outcomes[index].exactFactor, !own.isEmpty else { return nil }
      return own.reduce(factor) { $0 * (factorOfScale($1) ?? .nan) }
    }
    let converted = Set(codes.filter { product($0) == 1 })
    let isWhole: (Int) -> Bool = { (owners[$0] ?? []).allSatisfy(converted.contains) }
    var result: [Int: String] = [:]
    for index in converted.sorted() {
      let tensor = outcomes[index].key.tensor
      let own = scales(index, Self.scaleNames(of: tensor))
      guard let factor = outcomes[index].exactFactor, own.allSatisfy(isWhole) else { continue }
      let (left, right) = (outcomes[index].references[0].dtype.rawValue, outcomes[index].dtype.rawValue)
      let names = own.map { outcomes[$0].key.tensor }.joined(separator: ", ")
      result[index] =
        "the codes of \(left) are kept as \(right), \(factor) times the values, and \(names) makes up for it exactly: "
        + "the same weights"
      // The scale of what comes in is doubled with it, so that the other variant holds the same range.
      let inputs = scales(index, Self.inputScaleNames(of: tensor)).filter { outcomes[$0].exactFactor == 1 / factor }
      for scale in own.filter({ outcomes[$0].exactFactor != nil }) + inputs {
        result[scale] = "\(1 / factor) times the reference's, as the codes of \(tensor), kept as \(right), ask for"
      }
    }
    return result
  }

  private func isOtherVariant(_ index: Int) -> Bool {
    guard let reference = outcomes[index].references.first?.dtype else { return false }
    let types: Set<DType> = [reference, outcomes[index].dtype]
    return types == [.float8E4M3FN, .float8E4M3FNUZ] || types == [.float8E5M2, .float8E5M2FNUZ]
  }

  /// 1 where the scale is the same on both sides; nil where nothing exact is known of it.
  private func factorOfScale(_ index: Int) -> Double? {
    let outcome = outcomes[index]
    guard outcome.divergentRanks.isEmpty, outcome.divergentReferenceRanks.isEmpty else { return nil }
    return outcome.measures?.maxAbs == 0 ? 1 : outcome.exactFactor
  }

  /// Where engines and checkpoints keep the scale of `tensor`, `weight` or `w13_weight`.
  private static func scaleNames(of tensor: String) -> [String] {
    let stem = tensor.split(separator: ".", omittingEmptySubsequences: false).dropLast().map { "\($0)." }.joined()
    return ["_scale", "_scale_inv", "_scale_2", ".scale", ".scale_inv"].map { tensor + $0 }
      + ["\(stem)scale", "\(stem)scale_inv"]
  }

  private static func inputScaleNames(of tensor: String) -> [String] {
    let stem = tensor.hasSuffix("weight") ? String(tensor.dropLast(6)) : tensor + "_"
    return ["\(stem)input_scale"]
  }
}
