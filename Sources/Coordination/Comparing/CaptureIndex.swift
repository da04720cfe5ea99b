import Alignment
import Dumps

/// One side's captures by place, call and rank, with the calls chosen.
struct CaptureIndex: Sendable {
  let side: ComparisonSide
  let worldSize: Int
  /// Ranks with a capture.
  let ranks: [Int]
  /// Place → call → rank → capture.
  private(set) var captures: [CaptureKey: [Int?: [Int: Capture]]] = [:]
  /// Files older than the attempt.
  private(set) var stale: [Capture] = []
  /// Two captures for one place, call and rank: named, the first is kept.
  private(set) var duplicates: [String] = []
  private(set) var duplicateCaptures: Set<Capture> = []
  /// Under which names its captures are compared.
  let names: NameJoin.Side
  /// Tensors that were to be strung together and are not all there, or do not fit: a sentence each.
  private(set) var unfused: [String] = []
  /// By rank its pipeline stage; nil where a rank's dumps do not state it, or state several.
  let pipelineStages: [Int: Int]?

  init(_ side: ComparisonSide, rank: Int?, names: NameJoin.Side = NameJoin.Side()) {
    self.names = names
    self.side = side
    var kept = side.set.captures.filter { rank == nil || $0.rank == rank }
    // Without a known start, files a day older than those that follow them are of another run.
    if let start = side.startTime ?? Self.dayGap(kept.map(\.modified)) {
      stale = kept.filter { $0.modified < start }
      kept.removeAll { $0.modified < start }
    }
    ranks = Set(kept.map(\.rank)).sorted()
    worldSize = rank != nil ? 1 : max(side.worldSize ?? 0, side.set.worldSizeSeen, side.set.statedWorldSize ?? 0)
    pipelineStages = Self.pipelineStages(side.set.captures, worldSize: worldSize)
    var parts: [CaptureKey: [Int?: [Int: [CaptureKey: Capture]]]] = [:]
    for original in kept.sorted(by: { $0.file < $1.file }) {
      let own = CaptureKey(original)
      let key = names.name(of: own)
      var capture = original
      if names.flattened.contains(own), let flat = capture.tensor.flattened { capture.tensor = flat }
      let isPart = names.fused[key]?.contains(own) == true
      let isThere =
        isPart
        ? parts[key]?[capture.call]?[capture.rank]?[own] != nil : captures[key]?[capture.call]?[capture.rank] != nil
      if isThere {
        duplicates.append("\(capture.file): \(own) of rank \(capture.rank) is there twice")
        duplicateCaptures.insert(original)
      } else if isPart {
        parts[key, default: [:]][capture.call, default: [:]][capture.rank, default: [:]][own] = capture
      } else {
        captures[key, default: [:]][capture.call, default: [:]][capture.rank] = capture
      }
    }
    for (key, byCall) in parts {
      for (call, byRank) in byCall {
        for (rank, found) in byRank { fuse(key, names.fused[key] ?? [], found, call: call, rank: rank) }
      }
    }
    unfused.sort()
  }

  /// Strings the rows of several tensors together, as the other side has them.
  private mutating func fuse(
    _ key: CaptureKey, _ names: [CaptureKey], _ found: [CaptureKey: Capture], call: Int?, rank: Int
  ) {
    let parts = names.compactMap { found[$0] }
    guard parts.count == names.count, var whole = parts.first else {
      let lost = names.filter { found[$0] == nil }.map(\.description).joined(separator: ", ")
      unfused.append("\(key): rank \(rank) lacks \(lost), so its parts cannot be put together")
      return
    }
    guard let tensor = Tensor.joined(parts.map(\.tensor)) else {
      let shapes = parts.map { "\($0.tensor.dtype.rawValue) \($0.tensor.shape)" }.joined(separator: ", ")
      unfused.append("\(key): the parts of rank \(rank) cannot be put together: \(shapes)")
      return
    }
    whole.tensor = tensor
    captures[key, default: [:]][call, default: [:]][rank] = whole
  }

  /// The time after the last gap of more than a day; nil where there is none.
  private static func dayGap(_ times: [Int64]) -> Int64? {
    let sorted = Set(times).sorted()
    let day: Int64 = 86_400_000_000_000
    for (earlier, later) in zip(sorted, sorted.dropFirst()).reversed() {
      let (gap, overflow) = later.subtractingReportingOverflow(earlier)
      if overflow || gap > day { return later }
    }
    return nil
  }

  /// Who wrote what when, for the order of stages.
  var stamps: [StageOrder.Stamp] {
    var result: Set<StageOrder.Stamp> = []
    for (key, byCall) in captures {
      for (call, ranks) in byCall {
        for (rank, capture) in ranks {
          result.insert(
            StageOrder.Stamp(
              rank: rank, layer: key.layer, stage: key.stage, call: call, modified: capture.modified,
              file: capture.file))
        }
      }
    }
    return Array(result)
  }

  /// Each file once, with its time.
  var files: [(file: String, modified: Int64)] {
    var times: [String: Int64] = [:]
    for capture in side.set.captures { times[capture.file] = capture.modified }
    return times.map { (file: $0.key, modified: $0.value) }
  }

  private static func pipelineStages(_ captures: [Capture], worldSize: Int) -> [Int: Int]? {
    var stages: [Int: ParallelRank] = [:]
    for capture in captures {
      guard let own = capture.metadata?.parallel["pp"], own.size > 1, stages[capture.rank] ?? own == own else {
        return nil
      }
      stages[capture.rank] = own
    }
    // A stage of which nothing is there may hold whatever others lack.
    guard let size = stages.values.first?.size, stages.values.allSatisfy({ $0.size == size }),
      Set(stages.values.map(\.rank)).count == size, stages.count == worldSize
    else { return nil }
    return stages.mapValues(\.rank)
  }

  /// Whether no two ranks that hold layers share one, or they share all: as the stages of a pipeline do.
  var isCutByLayers: Bool {
    var layers: [Int: Set<Int>] = [:]
    for capture in side.set.captures {
      if let layer = capture.layer { layers[capture.rank, default: []].insert(layer) }
    }
    let groups = Array(Set(layers.values))
    guard groups.count > 1 else { return false }
    return groups.reduce(0) { $0 + $1.count } == groups.reduce(into: Set<Int>()) { $0.formUnion($1) }.count
  }

  var count: Int { captures.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.count } } }

  /// Ranks below the world size without any capture.
  func missingRanks(only rank: Int?) -> [Int] {
    rank == nil ? (0..<worldSize).filter { !ranks.contains($0) } : (ranks.isEmpty ? [rank ?? 0] : [])
  }

  /// Every (rank, layer, stage, call) with its token count.
  ///
  /// - Parameter countsBatchOfOne: whether `[1, tokens, hidden]` has as many tokens as its second dimension says, where
  ///   no call or rank of the place has another first dimension: that could be one token and its heads.
  func observations(countsBatchOfOne: Bool = true) -> [CallObservation] {
    struct Place: Hashable {
      var rank: Int
      var layer: Int?
      var stage: String
      var call: Int?
    }
    var tokens: [Place: (tensor: String, tokens: Int, isLast: Bool)] = [:]
    for (key, calls) in captures where key.role == .output {
      let isBatchOfOne =
        countsBatchOfOne
        && calls.values.allSatisfy { $0.values.allSatisfy { $0.tensor.shape.count == 3 && $0.tensor.shape[0] == 1 } }
      for (call, ranks) in calls {
        for (rank, capture) in ranks {
          let place = Place(rank: rank, layer: key.layer, stage: key.stage, call: call)
          let known = tokens[place]
          // `hidden` counts; else the first output by name.
          if known == nil || key.tensor == "hidden" || (known?.tensor != "hidden" && key.tensor < known?.tensor ?? "") {
            let isSecond = isBatchOfOne && capture.metadata?.dims == nil
            tokens[place] = (
              key.tensor, isSecond ? capture.tensor.shape[1] : capture.tokenCount, capture.holdsLastCall
            )
          }
        }
      }
    }
    return tokens.map { place, value in
      CallObservation(
        rank: place.rank, layer: place.layer, stage: place.stage, call: place.call, tokens: value.tokens,
        isLast: value.isLast)
    }
    .sorted {
      ($0.call ?? -1, $0.layer ?? -1, $0.stage, $0.rank) < ($1.call ?? -1, $1.layer ?? -1, $1.stage, $1.rank)
    }
  }
}
