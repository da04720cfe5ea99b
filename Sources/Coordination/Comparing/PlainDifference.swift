import Alignment
import Dumps

/// What the two sides state otherwise beside their tensors, under one name: numbers, texts and flags of the calls that
/// are compared, at the same rank, layer, stage and key.
struct PlainDifference: Sendable, Hashable, Codable {
  /// Key, without the indices of lists.
  var name: String
  /// Where it differs most, and what stands there.
  var place: String
  var reference: String
  var target: String
  /// Places where it differs.
  var places: Int
  /// Of a figure the largest |a-b| / max(|a|, |b|), infinite where one is not finite or there are several; nil for what
  /// is no floating-point number.
  var gap: Double?

  private struct Place: Hashable {
    var rank: Int
    var layer: Int?
    var stage: String
    var name: String

    var order: (Int, String, Int, String) { (layer ?? -1, stage, rank, name) }
  }

  /// In the order of their places.
  static func all(_ matching: CaptureMatching, rank: Int?) -> [PlainDifference] {
    let reference = values(matching.reference, rank: rank, CallsUsed(matching.fates.mapValues(\.reference)))
    let target = values(matching.target, rank: rank, CallsUsed(matching.fates.mapValues(\.target)))
    var result: [PlainDifference] = []
    var numbers: [String: Int] = [:]
    for place in reference.keys.sorted(by: { $0.order < $1.order }) {
      guard let left = reference[place], let right = target[place], left != right else { continue }
      guard let found = PlainDifference(place, left, right) else { continue }
      guard let number = numbers[found.name] else {
        numbers[found.name] = result.count
        result.append(found)
        continue
      }
      let places = result[number].places + 1
      if found.gap ?? -1 > result[number].gap ?? -1 { result[number] = found }
      result[number].places = places
    }
    return result
  }

  private static func values(_ index: CaptureIndex, rank: Int?, _ calls: CallsUsed) -> [Place: Set<Scalar>] {
    let stale = Set(index.stale.map(\.file))
    var result: [Place: Set<Scalar>] = [:]
    for value in index.side.set.plain
    where (rank == nil || value.rank == rank) && !stale.contains(value.file) && calls.has(value) {
      if isOfTheRun(value.name) { continue }
      let place = Place(rank: value.rank, layer: value.layer, stage: value.stage, name: value.name)
      result[place, default: []].insert(value.value)
    }
    return result
  }

  private init?(_ place: Place, _ left: Set<Scalar>, _ right: Set<Scalar>) {
    let all = left.union(right)
    let isFigure = all.contains { if case .double = $0 { true } else { false } }
    if isFigure, left.count == 1, right.count == 1, let a = left.first?.number, let b = right.first?.number {
      if a == b { return nil }
      let gap = abs(a - b) / max(abs(a), abs(b))
      self.gap = gap.isFinite ? gap : .infinity
    } else {
      gap = isFigure ? .infinity : nil
    }
    name = place.name.replacing(/\[\d+\]/, with: "")
    self.place =
      (place.layer.map { "layer \($0) " } ?? "") + (place.stage.isEmpty ? "" : "\(place.stage) ") + "rank \(place.rank)"
    func text(_ values: Set<Scalar>) -> String {
      guard values.count == 1, let text = values.first?.text else {
        return "\(values.count) values in the calls that are joined"
      }
      return text.count > 100 ? "\(text.prefix(100))…" : text
    }
    (reference, target, places) = (text(left), text(right), 1)
  }

  /// What differs between any two runs, or between any two ranks: times, paths, hosts, devices.
  private static func isOfTheRun(_ name: String) -> Bool {
    name.lowercased().split { !$0.isLetter }.contains { words.contains(String($0)) }
  }

  private static let words: Set<String> = [
    "time", "timestamp", "ts", "date", "datetime", "elapsed", "duration", "latency", "runtime", "seconds", "ms", "path",
    "file", "filename", "dir", "directory", "folder", "cwd", "host", "hostname", "node", "ip", "addr", "port", "user",
    "pid", "ppid", "tid", "thread", "uuid", "guid", "rid", "rids", "request", "job", "rank", "device", "gpu", "memory",
    "mem",
  ]

  /// The first few, in words.
  static func list(_ differences: [PlainDifference]) -> String {
    let said = differences.prefix(8).map { difference in
      let others = difference.places > 1 ? ", one of \(difference.places) places" : ""
      return "\(difference.name) \(difference.reference) in the reference, \(difference.target) in the target "
        + "(\(difference.place)\(others))"
    }
    return said.joined(separator: "; ") + (differences.count > said.count ? "; …" : "")
  }
}

/// The calls of one side that are compared.
private struct CallsUsed {
  private struct Place: Hashable {
    var layer: Int?
    var stage: String
  }

  private var byPlace: [Place: Set<Int?>] = [:]
  /// Of any place: for values of a stage without tensors.
  private var all: Set<Int?> = []

  init(_ fates: [CaptureKey: CaptureMatching.Fate]) {
    for (key, fate) in fates {
      guard case .paired(_, let used) = fate else { continue }
      let calls = used.values.reduce(into: Set<Int?>()) { $0.formUnion($1) }
      byPlace[Place(layer: key.layer, stage: key.stage), default: []].formUnion(calls)
      all.formUnion(calls)
    }
  }

  func has(_ value: PlainCapture) -> Bool {
    (byPlace[Place(layer: value.layer, stage: value.stage)] ?? all).contains(value.call)
  }
}

extension Scalar {
  /// As a number; nil for what is none.
  fileprivate var number: Double? {
    switch self {
    case .int(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }
}
