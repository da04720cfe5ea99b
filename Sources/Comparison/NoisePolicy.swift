public import Alignment

/// What counts as noise.
public enum NoisePolicy: Sendable, Hashable {
  /// Onset over the stages in execution order against what rounding and repeats give.
  case measured(NoiseFloors)
  /// Bitwise.
  case strict
  /// The table of ATOM's compare.
  case atom
  /// The table of the accuracy-triage method.
  case triage
  /// Own limits: a row passes with cos ≥ `cos` and rel ≤ `rel`; nil is no limit.
  case thresholds(cos: Double?, rel: Double?)
}

/// What repeats of one cell differ by: the relative L2 distance by capture.
public struct NoiseFloors: Sendable, Hashable {
  public var relL2: [CaptureKey: Double]
  /// Captures that were not the same bytes in all repeats: the cell is not deterministic.
  public var nondeterministic: [CaptureKey]
  public var notes: [String]

  public init(relL2: [CaptureKey: Double] = [:], nondeterministic: [CaptureKey] = [], notes: [String] = []) {
    self.relL2 = relL2
    self.nondeterministic = nondeterministic
    self.notes = notes
  }

  /// Takes over what other repeats showed: the larger floor counts.
  public mutating func merge(_ other: NoiseFloors) {
    relL2.merge(other.relL2) { max($0, $1) }
    nondeterministic += other.nondeterministic.filter { !nondeterministic.contains($0) }
    notes += other.notes.filter { !notes.contains($0) }
  }

  /// The floor of a capture: its own, else the largest of its stage and tensor in other layers.
  public func floor(of key: CaptureKey) -> Double? {
    if let own = relL2[key] { return own }
    return relL2.filter { $0.key.stage == key.stage && $0.key.tensor == key.tensor }.map(\.value).max()
  }
}
