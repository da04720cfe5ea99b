import Alignment
import Dumps

/// What the two sides state otherwise beside their tensors, under one name: numbers, texts and flags of the calls that
/// are compared, at the same layer, stage and key, and at the same rank, or at one that the other side's world lacks
/// and all of its ranks say the same.
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

    var text: String {
      (layer.map { "layer \($0) " } ?? "") + (stage.isEmpty ? "" : "\(stage) ") + "rank \(rank)"
    }
  }

  private typealias Values = [Place: Set<Scalar>]

  /// In the order of their places.
  static func all(_ matching: CaptureMatching, rank: Int?) -> [PlainDifference] {
    let reference = values(matching.reference, rank: rank, CallsUsed(matching.fates.mapValues(\.reference)))
    let target = values(matching.target, rank: rank, CallsUsed(matching.fates.mapValues(\.target)))
    var result: [PlainDifference] = []
    var numbers: [String: Int] = [:]
    let (spread, gathered) = (
      Self.spread(reference, to: target), Self.spread(target, to: reference)
    )
    for place in Set(reference.keys).union(target.keys).sorted(by: { $0.order < $1.order }) {
      guard let left = reference[place] ?? spread[place], let right = target[place] ?? gathered[place], left != right
      else { continue }
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
    return result + oneSided(reference, target)
  }

  /// Figures of all ranks of one side that say the same, as the ranks would say it that only the other side has.
  private static func spread(_ values: Values, to other: Values) -> Values {
    let own = Set(values.keys.map(\.rank))
    let others = Set(other.keys.map(\.rank)).subtracting(own)
    if others.isEmpty || own.isEmpty { return [:] }
    var said: [Place: (value: Set<Scalar>, ranks: Int)] = [:]
    var result: Values = [:]
    for (place, value) in values where value.contains(where: \.isFigure) {
      let key = Place(rank: 0, layer: place.layer, stage: place.stage, name: place.name)
      said[key] = (value, said[key].map { $0.value == value ? $0.ranks + 1 : .min } ?? 1)
    }
    for (key, said) in said where said.ranks == own.count {
      for rank in others { result[Place(rank: rank, layer: key.layer, stage: key.stage, name: key.name)] = said.value }
    }
    return result
  }

  /// Figures whose names one side alone has.
  private static func oneSided(_ reference: Values, _ target: Values) -> [PlainDifference] {
    func figures(_ values: Values, without other: Values) -> [Place] {
      let known = Set(other.keys.map { written($0.name) })
      var seen: Set<String> = []
      return values.keys.sorted { $0.order < $1.order }.filter { place in
        values[place]?.contains(where: \.isFigure) == true && !known.contains(written(place.name))
          && seen.insert(written(place.name)).inserted
      }
    }
    func difference(_ place: Place, _ reference: Set<Scalar>?, _ target: Set<Scalar>?) -> PlainDifference {
      PlainDifference(
        name: written(place.name), place: place.text, reference: reference.map(text) ?? "not stated",
        target: target.map(text) ?? "not stated", places: 1, gap: nil)
    }
    // Where a side states nothing at all, its dump is of another kind.
    if reference.isEmpty || target.isEmpty { return [] }
    return figures(reference, without: target).map { difference($0, reference[$0], nil) }
      + figures(target, without: reference).map { difference($0, nil, target[$0]) }
  }

  /// Without the indices of lists.
  private static func written(_ name: String) -> String { name.replacing(/\[\d+\]/, with: "") }

  private static func values(_ index: CaptureIndex, rank: Int?, _ calls: CallsUsed) -> Values {
    let stale = Set(index.stale.map(\.file))
    var result: Values = [:]
    for value in index.side.set.plain
    where (rank == nil || value.rank == rank) && !stale.contains(value.file) && calls.has(value) {
      if isOfTheRun(value.name) { continue }
      let place = Place(rank: value.rank, layer: value.layer, stage: value.stage, name: value.name)
      result[place, default: []].insert(value.value)
    }
    return result
  }

  private init?(_ place: Place, _ left: Set<Scalar>, _ right: Set<Scalar>) {
    let isFigure = left.union(right).contains(where: \.isFigure)
    if isFigure, left.count == 1, right.count == 1, let a = left.first?.number, let b = right.first?.number {
      if a == b { return nil }
      let gap = abs(a - b) / max(abs(a), abs(b))
      self.gap = gap.isFinite ? gap : .infinity
    } else {
      gap = isFigure ? .infinity : nil
    }
    (name, self.place) = (Self.written(place.name), place.text)
    (reference, target, places) = (Self.text(left), Self.text(right), 1)
  }

  private init(name: String, place: String, reference: String, target: String, places: Int, gap: Double?) {
    (self.name, self.place, self.reference, self.target) = (name, place, reference, target)
    (self.places, self.gap) = (places, gap)
  }

  private static func text(_ values: Set<Scalar>) -> String {
    guard values.count == 1, let text = values.first?.text else {
      return "\(values.count) values in the calls that are joined"
    }
    return text.count > 100 ? "\(text.prefix(100))…" : text
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
      let place = "(\(difference.place)\(others))"
      if difference.reference == "nan", difference.target == "nan" {
        return "\(difference.name) is NaN on both sides \(place)"
      }
      return
        "\(difference.name) \(difference.reference) in the reference, \(difference.target) in the target \(place)"
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
  /// A floating-point number.
  fileprivate var isFigure: Bool {
    if case .double = self { true } else { false }
  }

  /// As a number; nil for what is none.
  fileprivate var number: Double? {
    switch self {
    case .int(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }
}
