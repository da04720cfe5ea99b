public import Alignment
public import Dumps

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

/// A floor of one stage, type and world size.
public struct NoiseFloor: Sendable, Hashable, Codable {
  public enum Source: String, Sendable, Hashable, Codable {
    /// The same cell again.
    case repeats
    /// Another cell that was known to be right.
    case knownGood = "known-good"
  }

  public var stage: String
  public var tensor: String
  public var dtype: DType
  /// Ranks of the target; nil: not known.
  public var worldSize: Int?
  /// Largest relative L2 seen.
  public var relL2: Double
  /// Captures it was seen on.
  public var captures: Int
  public var source: Source

  public init(
    stage: String, tensor: String, dtype: DType, worldSize: Int?, relL2: Double, captures: Int, source: Source
  ) {
    self.stage = stage
    self.tensor = tensor
    self.dtype = dtype
    self.worldSize = worldSize
    self.relL2 = relL2
    self.captures = captures
    self.source = source
  }
}

/// What honest runs differ by: repeats of one cell by capture, and known-good pairs by stage, type and world size.
public struct NoiseFloors: Sendable, Hashable {
  public var relL2: [CaptureKey: Double]
  /// Captures that were not the same bytes in all repeats: the cell is not deterministic.
  public var nondeterministic: [CaptureKey]
  /// Of these, what no distance tells: values that are not finite, zeros on one side, another shape.
  public var unmeasured: [CaptureKey]
  public var notes: [String]
  /// What is shown, and what known-good pairs gave.
  public var table: [NoiseFloor]

  public init(
    relL2: [CaptureKey: Double] = [:], nondeterministic: [CaptureKey] = [], unmeasured: [CaptureKey] = [],
    notes: [String] = [], table: [NoiseFloor] = []
  ) {
    self.relL2 = relL2
    self.nondeterministic = nondeterministic
    self.unmeasured = unmeasured
    self.notes = notes
    self.table = table
  }

  /// Takes over what other repeats showed: the larger floor counts.
  public mutating func merge(_ other: NoiseFloors) {
    relL2.merge(other.relL2) { max($0, $1) }
    nondeterministic += other.nondeterministic.filter { !nondeterministic.contains($0) }
    unmeasured += other.unmeasured.filter { !unmeasured.contains($0) }
    notes += other.notes.filter { !notes.contains($0) }
    for floor in other.table { add(floor) }
  }

  /// Adds a floor, or raises the one for the same stage, type, world size and source.
  public mutating func add(_ floor: NoiseFloor) {
    let same = table.firstIndex {
      $0.stage == floor.stage && $0.tensor == floor.tensor && $0.dtype == floor.dtype
        && $0.worldSize == floor.worldSize && $0.source == floor.source
    }
    guard let same else { return table.append(floor) }
    table[same].relL2 = max(table[same].relL2, floor.relL2)
    table[same].captures += floor.captures
  }

  /// The floor of a capture: its own, else the largest of its stage and tensor in other layers.
  public func floor(of key: CaptureKey) -> Double? {
    if let own = relL2[key] { return own }
    return relL2.filter { $0.key.stage == key.stage && $0.key.tensor == key.tensor }.map(\.value).max()
  }

  /// What known-good pairs of the same stage and type differ by; 0 where there are none.
  public func knownGood(_ key: CaptureKey, dtype: DType) -> Double {
    table.filter {
      $0.source == .knownGood && $0.stage == key.stage && $0.tensor == key.tensor && $0.dtype == dtype
    }.map(\.relL2).max() ?? 0
  }
}
