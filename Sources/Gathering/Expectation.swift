/// What a run's manifest must hold, and by name what it lacks.
///
/// Ranks are checked whatever the layout; layers and stages only for ATOM's forward dumps, whose names give them.
public struct Expectation: Sendable, Hashable {
  /// Which of ATOM's two forms of names is expected.
  public enum Form: Sendable, Hashable {
    /// `layer00_MoE_rank3.pt`
    case oneShot
    /// `layer00_MoE_rank3_call001.pt`
    case multi
    case either
  }

  /// Ranks 0 to this, not included, must each have a file. 0: ranks are not checked.
  public var worldSize: Int
  /// Layer numbers; empty: any.
  public var layers: [Int]
  /// Module class names (`MoE`); empty: any.
  public var stages: [String]
  public var form: Form
  /// Whether names are ATOM's. Where not, `layers`, `stages` and `form` are not looked at.
  public var isAtom: Bool

  public init(worldSize: Int, layers: [Int] = [], stages: [String] = [], form: Form = .either, isAtom: Bool = true) {
    self.worldSize = worldSize
    self.layers = layers
    self.stages = stages
    self.form = form
    self.isAtom = isAtom
  }

  /// What is missing, one sentence each: `rank 3: no file`, `rank 3: layers 2-5 MoE missing`.
  ///
  /// Also names empty files, and ranks outside the world: they are another run's. Files that name no rank are the one
  /// rank's where the world has no other; ATOM's always name it.
  public func gaps(in entries: [ManifestEntry]) -> [String] {
    var gaps: [String] = []
    let byRank = Dictionary(grouping: entries.filter { $0.rank != nil }) { $0.rank ?? 0 }
    if byRank.isEmpty, worldSize > 0, !isAtom, let example = entries.first?.path {
      if worldSize == 1 { return [] }
      return [
        "ranks 0-\(worldSize - 1): no file names its rank (\(printable(example))); `rank0` in a name or a directory does, "
          + "or a pattern of layout custom; where rank 0 alone writes, say `expect: {ranks: 1}`"
      ]
    }
    for rank in 0..<max(0, worldSize) {
      let files = byRank[rank] ?? []
      if files.isEmpty {
        gaps.append("rank \(rank): no file")
      } else if isAtom {
        gaps += atomGaps(rank: rank, files: files)
      }
    }
    if worldSize > 0 {
      for rank in byRank.keys.sorted() where rank >= worldSize {
        let example = byRank[rank]?.first?.path ?? ""
        gaps.append("rank \(rank): unexpected in a world of \(worldSize) (\(printable(example)))")
      }
    }
    for entry in entries where entry.byteCount == 0 && AtomName(entry.path) != nil && isAtom {
      gaps.append("rank \(entry.rank.map(String.init) ?? "?"): \(printable(entry.path)) is empty")
    }
    return gaps
  }

  private func atomGaps(rank: Int, files: [ManifestEntry]) -> [String] {
    let names = files.compactMap { AtomName($0.path) }
    if names.isEmpty { return ["rank \(rank): no layer file among its \(files.count) files"] }
    let fitting = names.filter(fits)
    let formHint =
      switch form {
      case .oneShot: "one-shot "
      case .multi: "multi-call "
      case .either: ""
      }
    if fitting.isEmpty { return ["rank \(rank): no \(formHint)layer file among its \(names.count) layer files"] }

    var gaps: [String] = []
    let present = Set(fitting.map { Key(layer: $0.layer, stage: $0.stage) })
    let anyForm = Set(names.map { Key(layer: $0.layer, stage: $0.stage) })
    let presentLayers = Set(fitting.map(\.layer))
    let wantedLayers = Array(Set(layers)).sorted()
    if stages.isEmpty {
      let missing = wantedLayers.filter { !presentLayers.contains($0) }
      gaps += Self.ranges(missing).map { "rank \(rank): \($0) missing" }
    }
    for stage in stages {
      if wantedLayers.isEmpty {
        if !fitting.contains(where: { $0.stage == stage }) { gaps.append("rank \(rank): stage \(stage) missing") }
        continue
      }
      let missing = wantedLayers.filter { !present.contains(Key(layer: $0, stage: stage)) }
      let inOtherForm = missing.filter { anyForm.contains(Key(layer: $0, stage: stage)) }
      gaps += Self.ranges(missing.filter { !inOtherForm.contains($0) }).map { "rank \(rank): \($0) \(stage) missing" }
      gaps += Self.ranges(inOtherForm).map {
        "rank \(rank): \($0) \(stage) has no \(formHint)file, only the other form"
      }
    }
    return gaps
  }

  private func fits(_ name: AtomName) -> Bool {
    switch form {
    case .oneShot: !name.hasCall
    case .multi: name.hasCall
    case .either: true
    }
  }

  private struct Key: Hashable {
    var layer: Int
    var stage: String
  }

  /// `layer 2`, `layers 4-7`: each run of consecutive numbers of a sorted list.
  private static func ranges(_ numbers: [Int]) -> [String] {
    var runs: [ClosedRange<Int>] = []
    for number in numbers {
      if let last = runs.last, last.upperBound == number - 1 {
        runs[runs.count - 1] = last.lowerBound...number
      } else {
        runs.append(number...number)
      }
    }
    return runs.map { $0.count == 1 ? "layer \($0.lowerBound)" : "layers \($0.lowerBound)-\($0.upperBound)" }
  }
}

/// A file name of ATOM's forward dumps: `layer{LL}[_{Class}]_rank{R}[_call{NNN}].pt`.
struct AtomName: Hashable {
  var layer: Int
  /// `Block` where the name gives none.
  var stage: String
  var hasCall: Bool

  init?(_ path: String) {
    let base = path.split(separator: "/").last ?? ""
    guard
      let match = base.wholeMatch(of: /layer([0-9]{1,9})(?:_([A-Za-z0-9_]+?))?_rank[0-9]{1,9}(_call[0-9]{1,9})?\.pt/),
      let layer = Int(match.1)
    else { return nil }
    self.layer = layer
    stage = match.2.map(String.init) ?? "Block"
    hasCall = match.3 != nil
  }
}
