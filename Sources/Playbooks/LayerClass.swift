import Comparison
import Foundation

/// Which layers are wrong by themselves, not by what comes into them, and what these have in common (seed 002, phases 4
/// and 5): every n-th, those with one kind of stage, all from one on.
struct LayerClass: Equatable {
  enum Kind: Equatable {
    /// The others only carry on what came in.
    case alone
    case every(Int)
    /// All that have this stage, and none of the others.
    case having(String)
    /// All behind the first wrong one.
    case onwards
    case mixed
  }

  var kind: Kind
  /// Looked at, from the first wrong one on.
  var wrong: [Int]
  var right: [Int]

  /// A layer adds this much of what the first wrong one adds, or at most that much; between them nothing is said.
  private static let sameShare = 0.7
  private static let otherShare = 0.4
  /// Times what the first wrong one adds.
  private static let tooMuch = 2.0

  /// - Parameters:
  ///   - first: the first wrong layer.
  ///   - stages: what is dumped of every layer that is looked at.
  /// - Returns: nil where no other layer was seen clearly.
  init?(first: Int, stages: [String], _ steps: [Step]) {
    var added: [Int: Double] = [:]
    var incoming: [Int: Double] = [:]
    var has: [Int: Set<String>] = [:]
    for row in steps.flatMap({ $0.outcome.judged?.rows ?? [] }) {
      guard let layer = row.layer, layer >= first else { continue }
      if !stages.contains(row.stage) { has[layer, default: []].insert(row.stage) }
    }
    for step in steps {
      let rows = (step.outcome.judged?.rows ?? []).filter { stages.contains($0.stage) && ($0.layer ?? -1) >= first }
      for (layer, rows) in Dictionary(grouping: rows, by: { $0.layer ?? -1 }) {
        for rows in Dictionary(grouping: rows, by: \.stage).values {
          guard let output = Self.output(rows), let input = Self.input(rows) else { continue }
          // Errors of different origin add like sides of a right angle.
          let own = max(0, output * output - input * input).squareRoot()
          added[layer] = max(added[layer] ?? 0, own)
          incoming[layer] = max(incoming[layer] ?? 0, input)
        }
      }
    }
    guard let standard = added[first], standard > 0 else { return nil }
    wrong = added.filter { $0.value >= Self.sameShare * standard }.keys.sorted()
    // What comes in wrongly makes an honest layer add, too: behind several wrong ones nothing is said of it.
    right =
      added.filter { layer, value in
        value <= Self.otherShare * standard && incoming[layer] ?? 0 <= Self.tooMuch * standard
      }.keys.sorted()
    guard wrong.count + right.count > 1 else { return nil }
    // None was seen to be right, and not all to be wrong.
    if right.isEmpty, added.values.contains(where: { $0 < Self.sameShare * standard }) { return nil }
    kind = Self.kind(first, wrong, right, has)
  }

  /// What a module passes on, and what comes into it; other arguments are alike on both sides whatever is wrong.
  static func output(_ rows: [Outcome.Row]) -> Double? {
    main(rows.filter { !$0.isInput && !$0.isParameter }, "hidden")
  }

  static func input(_ rows: [Outcome.Row]) -> Double? {
    main(rows.filter { row in row.isInput && !sideArguments.contains { row.tensor.contains($0) } }, "input")
  }

  private static let sideArguments = ["position", "mask", "ids", "index", "batch", "cache", "rotary", "cos", "sin"]

  /// The tensor of this name, or in layouts that have none the one that is farthest off.
  private static func main(_ rows: [Outcome.Row], _ name: String) -> Double? {
    rows.first { $0.tensor == name && $0.relL2 != nil }?.relL2 ?? rows.compactMap(\.relL2).max()
  }

  private static func kind(_ first: Int, _ wrong: [Int], _ right: [Int], _ has: [Int: Set<String>]) -> Kind {
    guard wrong.count > 1 else { return .alone }
    guard !right.isEmpty else { return .onwards }
    // A stage that all wrong ones have, where it is known, and no right one.
    let known = (wrong: wrong.compactMap { has[$0] }, right: right.compactMap { has[$0] })
    if let start = known.wrong.first, known.wrong.count > 1, !known.right.isEmpty {
      let shared = known.wrong.dropFirst().reduce(start) { $0.intersection($1) }
      let own = known.right.reduce(shared) { $0.subtracting($1) }
      if let stage = own.min() { return .having(stage) }
    }
    return period(wrong, right).map(Kind.every) ?? .mixed
  }

  /// The least n of which all wrong layers are one remainder, and no right one behind the first of them.
  static func period(_ wrong: [Int], _ right: [Int]) -> Int? {
    guard let first = wrong.min(), wrong.count > 1, right.contains(where: { $0 > first }) else { return nil }
    return (2...16).first { n in
      wrong.allSatisfy { ($0 - first) % n == 0 } && !right.contains { $0 > first && ($0 - first) % n == 0 }
    }
  }

  /// For machines and tables; nil where it is no class.
  var name: String? {
    switch kind {
    case .every(2): "every second layer"
    case .every(3): "every third layer"
    case .every(let n): "every \(n)th layer"
    case .having(let stage): "layers with \(stage)"
    case .onwards: wrong.first == 0 ? "every layer" : wrong.first.map { "every layer from \($0) on" }
    case .alone, .mixed: nil
    }
  }

  var sentence: String {
    let list = wrong.map(String.init).joined(separator: ", ")
    let others = right.map(String.init).joined(separator: ", ")
    switch kind {
    case .alone: return "Layer \(list) alone is wrong by itself; \(others) only carry on what comes in."
    case .mixed: return "Layers \(list) are wrong by themselves, \(others) are not: no simple class."
    case .onwards: return "As far as was looked, \(name ?? "") is wrong by itself (\(list))."
    case .every, .having:
      return "The wrong ones are a class, \(name ?? ""): \(list) are wrong by themselves, \(others) are not."
    }
  }

  var next: String? {
    switch kind {
    case .alone, .mixed: nil
    case .onwards:
      wrong.first == 0
        ? nil
        : "Compare the branch of the first \(wrong[0]) layers with that of the others (routing, dense first layers)."
    case .every, .having: "Compare the branch that these layers take with that of the others."
    }
  }
}
