public import Dumps

/// Which names of the two sides belong together, and everything that has no partner, with the reason. Pure: names and
/// shapes in, names out.
public struct NameJoin: Sendable, Hashable {
  /// What happens to the names of one side.
  public struct Side: Sendable, Hashable {
    /// Own name → the name under which it is compared.
    public var renamed: [CaptureKey: CaptureKey] = [:]
    /// Compared name → own names whose rows, in this order, make it up.
    public var fused: [CaptureKey: [CaptureKey]] = [:]
    /// Own names whose two leading dimensions (batch, tokens) are one on the other side.
    public var flattened: Set<CaptureKey> = []
    /// Names that were to be joined and have no partner, with the reason.
    public var reasons: [CaptureKey: String] = [:]
    /// Names on this side only that no rule claims for sure.
    public var outside: Set<CaptureKey> = []

    public init() {}

    /// The name under which a capture is compared.
    public func name(of key: CaptureKey) -> CaptureKey { renamed[key] ?? key }
  }

  public var reference = Side()
  public var target = Side()
  /// Rules that joined nothing, in words: they keep a comparison from PASS.
  public var problems: [String] = []
  /// Names compared with each other (also those that are the same on both sides).
  public var count = 0

  /// Nothing is renamed.
  public static let none = NameJoin()

  private init() {}

  /// - Parameters:
  ///   - reference: every name of the side with one of its shapes.
  /// - Throws: `AlignmentError` where a rule cannot be matched.
  public init(
    rules: NameRules, reference: [CaptureKey: [Int]], target: [CaptureKey: [Int]], layouts: (DumpLayout, DumpLayout)
  ) throws(AlignmentError) {
    guard !rules.isEmpty else { return }
    var walk = Walk(reference: reference, target: target)
    let (all, wrong) = rules.resolved(reference: layouts.0, target: layouts.1)
    problems = wrong
    for rule in all where !rule.isOptional {
      let found = try walk.apply(rule)
      problems += found.unmatched
    }
    if (layouts.0 == .huggingFace) != (layouts.1 == .huggingFace), all.contains(where: \.isOptional) {
      let engine = layouts.0 == .huggingFace ? 1 : 0
      walk.setAsideResiduals(side: engine, engine == 0 ? reference : target)
    }
    walk.joinSameNames()
    var presets: [String: Bool] = [:]
    for rule in all where rule.isOptional {
      let found = try walk.apply(rule)
      presets[rule.title, default: false] = presets[rule.title, default: false] || found.joined > 0
    }
    problems += presets.filter { !$0.value }.keys.sorted().map { "names: \($0) joins no two names of these dumps" }
    walk.close()
    self.reference = walk.sides[0].result
    self.target = walk.sides[1].result
    count = walk.count
    flatten(reference, target)
  }

  /// Batch and tokens are one dimension in engines, and two in Hugging Face's modules.
  private mutating func flatten(_ referenceShapes: [CaptureKey: [Int]], _ targetShapes: [CaptureKey: [Int]]) {
    func byName(_ side: Side, _ shapes: [CaptureKey: [Int]]) -> [CaptureKey: [(key: CaptureKey, shape: [Int])]] {
      Dictionary(grouping: shapes.map { (key: $0.key, shape: $0.value) }) { side.name(of: $0.key) }
    }
    func flattens(_ shape: [Int], to other: [Int]) -> Bool {
      guard shape.count == other.count + 1, shape.count >= 2 else { return false }
      return shape[0] == 1 || shape[0].multipliedReportingOverflow(by: shape[1]).partialValue == other.first
    }
    let right = byName(target, targetShapes)
    for (name, own) in byName(reference, referenceShapes) {
      guard let other = right[name], let first = own.first?.shape, let second = other.first?.shape else { continue }
      if flattens(first, to: second) { reference.flattened.formUnion(own.map(\.key)) }
      if flattens(second, to: first) { target.flattened.formUnion(other.map(\.key)) }
    }
    // Where some are, the rest of that side counts its tokens in the same way.
    func rest(_ side: inout Side, _ shapes: [CaptureKey: [Int]]) {
      guard !side.flattened.isEmpty else { return }
      for (key, shape) in shapes where side.outside.contains(key) && shape.count >= 2 && shape[0] == 1 {
        side.flattened.insert(key)
      }
    }
    rest(&reference, referenceShapes)
    rest(&target, targetShapes)
  }
}

/// The names that are still open while rules are tried.
private struct Walk {
  struct OpenSide {
    let title: String
    let names: [(key: CaptureKey, text: String)]
    var open: Set<CaptureKey>
    /// Joined own name → what it was joined with, in words.
    var joined: [CaptureKey: String] = [:]
    /// Why a claimed name has no partner; a sure claim stands before an optional one.
    var claims: [CaptureKey: (why: String, isSure: Bool)] = [:]
    var result = NameJoin.Side()

    init(_ title: String, _ shapes: [CaptureKey: [Int]]) {
      self.title = title
      names = shapes.keys.sorted().map { ($0, $0.description) }
      open = Set(shapes.keys)
    }

    mutating func claim(_ key: CaptureKey, _ why: String, isSure: Bool) {
      guard open.contains(key) else { return }
      if let known = claims[key], known.isSure || !isSure { return }
      claims[key] = (why, isSure)
    }
  }

  var sides: [OpenSide]
  var count = 0

  init(reference: [CaptureKey: [Int]], target: [CaptureKey: [Int]]) {
    sides = [OpenSide("reference", reference), OpenSide("target", target)]
  }

  /// Engines that fuse the addition of the residual into the next norm carry two tensors where Hugging Face has their
  /// sum: a layer gives (hidden, residual), and a norm is given both. The first of them is another quantity.
  mutating func setAsideResiduals(side: Int, _ shapes: [CaptureKey: [Int]]) {
    let pairs = [
      ("output.0", "output.1"), ("input_fields.0", "input_fields.1"),
      ("input_fields.hidden_states", "input_fields.residual"), ("input_fields.x", "input_fields.residual"),
    ]
    var carried: Set<[String]> = []
    for (key, shape) in shapes {
      // The first output of a norm is what it is everywhere, the normed sum.
      for (name, other) in pairs
      where key.tensor == name && (name.hasPrefix("input") || key.stage == "layer" || key.stage.hasSuffix("Layer")) {
        let second = CaptureKey(layer: key.layer, stage: key.stage, tensor: other)
        if shapes[second] == shape { carried.insert([key.stage, name]) }
      }
    }
    for key in sides[side].open where carried.contains([key.stage, key.tensor]) {
      sides[side].open.remove(key)
      sides[side].result.outside.insert(key)
      sides[side].joined[key] = "nothing: the residual is carried beside it"
    }
  }

  mutating func joinSameNames() {
    for key in sides[0].open.intersection(sides[1].open) {
      for side in 0...1 {
        sides[side].open.remove(key)
        sides[side].joined[key] = key.description
      }
      count += 1
    }
  }

  /// By what the captures took: for each pattern the names that took it.
  private typealias Groups = [[String: String]: [[CaptureKey]]]

  private func groups(_ patterns: [NamePattern], side: Int) throws(AlignmentError) -> Groups {
    var result: Groups = [:]
    for (part, pattern) in patterns.enumerated() {
      let matcher = try NameMatcher(pattern)
      for name in sides[side].names {
        guard let captures = matcher.match(name.text) else { continue }
        result[captures, default: Array(repeating: [], count: patterns.count)][part].append(name.key)
      }
    }
    return result
  }

  mutating func apply(_ rule: NameRule) throws(AlignmentError) -> (joined: Int, unmatched: [String]) {
    let patterns = [rule.reference, rule.target]
    let found = [try groups(rule.reference, side: 0), try groups(rule.target, side: 1)]
    var joined = 0
    for captures in Set(found[0].keys).union(found[1].keys) {
      let groups = (0...1).map { found[$0][captures] ?? Array(repeating: [], count: patterns[$0].count) }
      let open = (0...1).map { side in groups[side].map { $0.filter(sides[side].open.contains) } }
      if open.allSatisfy({ $0.allSatisfy { $0.count == 1 } }) {
        join(open.map { $0.map { $0[0] } })
        joined += 1
      } else {
        for side in 0...1 { claim(rule, side: side, own: open[side], other: groups[1 - side], open: open[1 - side]) }
      }
    }
    var unmatched: [String] = []
    for side in 0...1 where found[side].isEmpty {
      let texts = patterns[side].map { "“\($0)”" }.joined(separator: ", ")
      unmatched.append("names: \(rule.title): no name of the \(sides[side].title) fits \(texts)")
    }
    return (joined, unmatched)
  }

  private mutating func join(_ keys: [[CaptureKey]]) {
    // What several make up bears the one name of the other side.
    let name = keys[1].count == 1 ? keys[1][0] : keys[0][0]
    for side in 0...1 {
      for key in keys[side] {
        sides[side].open.remove(key)
        sides[side].joined[key] = keys[1 - side].map(\.description).joined(separator: ", ")
        if key != name { sides[side].result.renamed[key] = name }
      }
      if keys[side].count > 1 { sides[side].result.fused[name] = keys[side] }
    }
    count += 1
  }

  /// Why the names of one side found no partner by this rule.
  private mutating func claim(
    _ rule: NameRule, side: Int, own: [[CaptureKey]], other: [[CaptureKey]], open: [[CaptureKey]]
  ) {
    let patterns = side == 0 ? rule.target : rule.reference
    let otherTitle = sides[1 - side].title
    func listed(_ keys: [CaptureKey]) -> String { keys.sorted().map(\.description).joined(separator: " and ") }
    var why: String?
    var isAmbiguous = false
    for keys in own where keys.count > 1 && !other.contains(where: \.isEmpty) {
      why = "\(listed(keys)) of the \(sides[side].title) land on one name"
      isAmbiguous = true
    }
    for (part, keys) in other.enumerated() where why == nil {
      if open[part].count > 1 {
        why = "\(listed(open[part])) of the \(otherTitle) both fit it"
        isAmbiguous = true
      } else if keys.isEmpty {
        why = "the \(otherTitle) has no name that fits “\(patterns[part])”"
      } else if open[part].isEmpty, let taken = keys.first {
        why = "\(taken) of the \(otherTitle) is already joined with \(sides[1 - side].joined[taken] ?? "another name")"
        isAmbiguous = !rule.isOptional
      }
    }
    for (part, keys) in own.enumerated() where why == nil && keys.isEmpty {
      let patterns = side == 0 ? rule.reference : rule.target
      why = "its other part “\(patterns[part])” is not there"
    }
    for key in own.joined() {
      sides[side].claim(key, "\(rule.title): \(why ?? "it has no partner")", isSure: isAmbiguous || !rule.isOptional)
    }
  }

  /// What is left: lost where the like of it is compared in another layer, else on one side only.
  mutating func close() {
    struct Kind: Hashable {
      var stage: String
      var tensor: String
    }
    for side in 0...1 {
      let compared = Set(sides[side].joined.keys.map { Kind(stage: $0.stage, tensor: $0.tensor) })
      for key in sides[side].open {
        let claim = sides[side].claims[key]
        if let claim, claim.isSure {
          sides[side].result.reasons[key] = claim.why
        } else if compared.contains(Kind(stage: key.stage, tensor: key.tensor)) {
          sides[side].result.reasons[key] =
            "it is compared in other layers" + (claim.map { "; \($0.why)" } ?? ", and here it has no partner")
        } else {
          sides[side].result.outside.insert(key)
        }
      }
    }
  }
}
