import Comparison

/// What each layer, and each stretch of layers that was not dumped, adds to the distance from the reference.
///
/// An error in one stage may drown in what the layers before it carry on: the layer's output is then judged right. It
/// still adds more than honest layers do, and errors of different origin add like sides of a right angle.
struct LayerGrowth {
  /// Layers behind position `after`, up to `upTo`; one layer where they are neighbours.
  struct Suspect: Equatable {
    var after: Int
    var upTo: Int
  }

  private struct Item {
    var suspect: Suspect
    var layers: Int
    /// Square of what they add together.
    var added: Double

    var rate: Double { added / Double(layers) }
  }

  private var items: [Item] = []
  private let usual: Double

  /// Honest stretches of up to ten layers vary by about one layer's share; planted errors that a stage shows stand at
  /// eight shares and more.
  private static let clear = 4.0

  /// - Parameters:
  ///   - layers: by position.
  ///   - stages: what is dumped of every layer that is looked at.
  /// - Returns: nil where too little was measured to compare.
  init?(_ layers: [Int], stages: [String], _ steps: some Collection<Step>) {
    var ends: [Int: (input: Double, output: Double)] = [:]
    for step in steps {
      let rows = (step.outcome.judged?.rows ?? []).filter { stages.contains($0.stage) }
      for (layer, rows) in Dictionary(grouping: rows, by: { $0.layer ?? -1 }) {
        guard let output = LayerClass.output(rows), let input = LayerClass.input(rows),
          let position = layers.firstIndex(of: layer)
        else { continue }
        ends[position] = (input, output)
      }
    }
    var last: (position: Int, output: Double)?
    for (position, end) in ends.sorted(by: { $0.key < $1.key }) {
      let between = position - (last?.position ?? -1) - 1
      if between > 0, let last {
        items.append(
          Item(
            suspect: between == 1
              ? Suspect(after: last.position, upTo: last.position + 1)
              : Suspect(after: last.position, upTo: position),
            layers: between, added: max(0, end.input * end.input - last.output * last.output)))
      }
      items.append(
        Item(
          suspect: Suspect(after: position - 1, upTo: position), layers: 1,
          added: max(0, end.output * end.output - end.input * end.input)))
      last = (position, end.output)
    }
    guard items.count > 2 else { return nil }
    usual = items.map(\.rate).sorted()[items.count / 2]
  }

  /// What adds clearly more than its layers usually would, the most of all first.
  func suspect(within bracket: Suspect?) -> Suspect? {
    let open = items.filter { item in
      bracket.map { item.suspect.after >= $0.after && item.suspect.upTo <= $0.upTo } ?? true
    }
    let excess = open.map { ($0, $0.added - Double($0.layers) * usual) }.max { $0.1 < $1.1 }
    guard let (item, more) = excess, more > Self.clear * usual, more > 0 else { return nil }
    return item.suspect
  }
}
