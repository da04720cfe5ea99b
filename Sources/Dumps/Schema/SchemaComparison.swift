/// Matches the names of two sides and looks at every pair: the work behind ``SchemaReport``.
struct SchemaComparison {
  private let sides: (reference: SchemaSide, target: SchemaSide)
  private let values: SchemaReport.Values
  private let progress: (SchemaReport.Step) -> Void
  private(set) var report: SchemaReport
  /// Tensors and ranks by what they were seen to be, in the order of the first.
  private var observations: [(what: SchemaObservation, tensors: [String], ranks: Set<Int>)] = []
  /// Names that a side holds on other ranks only, by the rank that lacks them.
  private var lacking: (reference: [Int: [String]], target: [Int: [String]]) = ([:], [:])
  /// Entries of `onlyReference` and `onlyTarget` that a lost file of a rank explains.
  private var explainedByLoss: Set<String> = []
  private var read = 0
  private var total = 0

  /// How the ranks of the two sides belong together.
  private enum Arrangement {
    /// One on each side.
    case single
    case rankByRank
    /// One side is whole, the other sliced.
    case sliced(isReferenceWhole: Bool)
  }

  init(
    _ reference: SchemaSide, _ target: SchemaSide, values: SchemaReport.Values,
    progress: @escaping (SchemaReport.Step) -> Void
  ) {
    sides = (reference, target)
    self.values = values
    self.progress = progress
    report = SchemaReport(
      reference: reference.path, target: target.path, verdict: .pass, onlyReference: [], onlyTarget: [],
      mismatched: [], common: [], byteEqual: [], unequal: [], shards: [],
      unreadable: reference.names.unreadable + target.names.unreadable,
      unrecognised: reference.unrecognised + target.unrecognised, findings: [])
  }

  mutating func run() throws(DumpError) {
    let (left, right) = (sides.reference.names, sides.target.names)
    for name in left.order {
      let bytes = (left.tensors[name] ?? [:]).values.reduce(0) { $0 &+ $1.byteEstimate }
      if right.tensors[name] != nil { total &+= bytes }
    }
    switch try arrangement() {
    case .single:
      let ranks = (sides.reference.ranks.first ?? 0, sides.target.ranks.first ?? 0)
      try comparePairs([(name: "", reference: ranks.0, target: ranks.1)])
    case .rankByRank:
      let ranks = Set(sides.reference.ranks + sides.target.ranks).sorted()
      try comparePairs(ranks.map { (name: "rank\($0)/", reference: $0, target: $0) })
    case .sliced(let isReferenceWhole): try compareSlices(isReferenceWhole: isReferenceWhole)
    }
    conclude()
  }

  private func arrangement() throws(DumpError) -> Arrangement {
    let (a, b) = (sides.reference, sides.target)
    if a.ranks.count <= 1, b.ranks.count <= 1 { return .single }
    if a.ranks == b.ranks { return .rankByRank }
    guard min(a.ranks.count, b.ranks.count) == 1 else { return .rankByRank }
    let (whole, parts) = a.ranks.count == 1 ? (a, b) : (b, a)
    guard whole.missingRanks.isEmpty else { return .rankByRank }
    if whole.isFile, let stated = whole.statedWorldSize, stated > 1 {
      throw DumpError(
        code: .unsupported, file: whole.path,
        message: "is the file of one rank of \(stated), and the other side holds ranks \(listed(parts.ranks)); give "
          + "the file of one rank, or two directories")
    }
    // A side of one rank may also be one that lost the others: then no tensor is larger than its rank's.
    let isSliced = whole.names.order.contains { name in
      guard let tensor = whole.names.tensors[name]?.values.first, let slices = parts.names.tensors[name] else {
        return false
      }
      return slices.values.contains { $0.shape != tensor.shape }
    }
    let isStated = whole.statedWorldSize == 1 && parts.statedWorldSize == parts.ranks.count
    return whole.isFile || isStated || isSliced
      ? .sliced(isReferenceWhole: a.ranks.count == 1) : .rankByRank
  }

  // MARK: One tensor with one tensor

  private mutating func comparePairs(_ ranks: [(name: String, reference: Int, target: Int)]) throws(DumpError) {
    let (left, right) = (sides.reference.names, sides.target.names)
    let missing = (reference: Set(sides.reference.missingRanks), target: Set(sides.target.missingRanks))
    for rank in ranks {
      // A rank that wrote nothing is named as such, and not tensor by tensor.
      if ranks.count > 1, missing.reference.contains(rank.reference) || missing.target.contains(rank.target) {
        continue
      }
      for name in left.order {
        guard let a = left.tensors[name]?[rank.reference] else { continue }
        guard let b = right.tensors[name]?[rank.target] else {
          if right.lost[name]?.contains(rank.target) != true {
            report.onlyReference.append(rank.name + name)
            if right.tensors[name] != nil { noteLack(of: name, rank.target, rank.name + name, isInTarget: true) }
          }
          continue
        }
        report.common.append(rank.name + name)
        do throws(DumpError) {
          try compare(a, b, rank.name + name, in: name, rank: ranks.count > 1 ? rank.reference : nil)
        } catch {
          lose(error)
        }
      }
      for name in right.order where right.tensors[name]?[rank.target] != nil {
        if left.tensors[name]?[rank.reference] == nil, left.lost[name]?.contains(rank.reference) != true {
          report.onlyTarget.append(rank.name + name)
          if left.tensors[name] != nil { noteLack(of: name, rank.reference, rank.name + name, isInTarget: false) }
        }
      }
    }
    if ranks.count > 1 { findOtherRanks() }
  }

  /// A rank lacks what others of its side hold; a lost file explains it where they have more files.
  private mutating func noteLack(of name: String, _ rank: Int, _ entry: String, isInTarget: Bool) {
    guard (isInTarget ? sides.target : sides.reference).mayLackFile(of: rank) else { return }
    explainedByLoss.insert(entry)
    if isInTarget {
      lacking.target[rank, default: []].append(name)
    } else {
      lacking.reference[rank, default: []].append(name)
    }
  }

  /// A shape tells nothing where a rank that may hold the rest is not there.
  private mutating func noteShapes(_ mismatch: SchemaReport.Mismatch) {
    guard let side = [sides.reference, sides.target].first(where: { !$0.missingRanks.isEmpty }) else {
      return report.mismatched.append(mismatch)
    }
    report.unreadable.append(
      Unreadable(
        file: side.path, why: "\(mismatch.name) cannot be compared without rank \(listed(side.missingRanks))"))
  }

  /// Whether the ranks of the target hold what other ranks of the reference do.
  private mutating func findOtherRanks() {
    let unequal = Set(report.unequal.map(\.name))
    for name in sides.reference.names.order {
      guard let left = sides.reference.names.tensors[name], let right = sides.target.names.tensors[name] else {
        continue
      }
      let ranks = left.keys.sorted()
      let wrong = ranks.filter { unequal.contains("rank\($0)/\(name)") }
      guard !wrong.isEmpty, ranks == right.keys.sorted() else { continue }
      do throws(DumpError) {
        if let what = try Self.otherRanks(left, right, wrong: wrong) {
          for rank in wrong { observe(what, name, rank) }
        }
      } catch {
        lose(error)
      }
    }
  }

  /// What the ranks `wrong` of the target hold, where that can be said from the reference's ranks.
  private static func otherRanks(
    _ left: [Int: Tensor], _ right: [Int: Tensor], wrong: [Int]
  ) throws(DumpError) -> SchemaObservation? {
    let ranks = left.keys.sorted()
    // The first rank of the reference that holds the same.
    func holder(of tensor: Tensor?) throws(DumpError) -> Int? {
      guard let tensor else { return nil }
      for rank in ranks {
        if let other = left[rank], other.shape == tensor.shape, try other.hasBytes(of: tensor) { return rank }
      }
      return nil
    }
    var holders: (reference: [Int?], target: [Int?]) = ([], [])
    for rank in ranks {
      holders.reference.append(try holder(of: left[rank]))
      holders.target.append(wrong.contains(rank) ? try holder(of: right[rank]) : holders.reference.last ?? nil)
    }
    if Set(holders.reference).count == 1 { return wrong.count < ranks.count ? .replicasDiffer : nil }
    let sources = holders.target.compactMap { $0 }
    guard sources.count == ranks.count else { return nil }
    if Set(holders.reference).count < ranks.count { return .headMap }
    return Set(sources).count < sources.count ? .duplicateShard : .rankOrder(sources)
  }

  /// What cannot be read is named, and costs only itself.
  private mutating func lose(_ error: DumpError) {
    report.unreadable.append(Unreadable(file: error.file, why: error.reason))
  }

  private mutating func compare(
    _ a: Tensor, _ b: Tensor, _ name: String, in baseName: String, rank: Int?
  ) throws(DumpError) {
    if a.shape != b.shape {
      noteShapes(.init(name: name, reference: .shape(a.shape), target: .shape(b.shape)))
    }
    if a.dtype != b.dtype {
      report.mismatched.append(.init(name: name, reference: .dtype(a.dtype), target: .dtype(b.dtype)))
    }
    guard values != .ignore else { return }
    guard a.shape == b.shape else {
      if a.dtype == b.dtype, let turned = a.transposed, turned.shape == b.shape, try turned.hasBytes(of: b) {
        observe(.transposed, name, rank)
      }
      return
    }
    if a.dtype != b.dtype {
      try explainTypes(a, b, name, in: baseName, rank: rank)
    } else if case let bytes = try areEqual(a, b, name), bytes.areEqual {
      report.byteEqual.append(name)
      if bytes.holdsNaN, !sides.reference.isPacked(baseName), !sides.target.isPacked(baseName) {
        observe(.nonfinite(reference: true, target: true), name, rank)
      }
    } else {
      try explain(a, b, name, rank: rank)
    }
  }

  private mutating func areEqual(
    _ a: Tensor, _ b: Tensor, _ name: String
  ) throws(DumpError) -> (areEqual: Bool, holdsNaN: Bool) {
    var done = read
    var holdsNaN = false
    let (total, progress) = (total, progress)
    let areEqual = try a.hasBytes(of: b) { bytes in
      done &+= bytes.count
      holdsNaN = holdsNaN || a.dtype.holdsNaN(bytes)
      progress(SchemaReport.Step(what: name, done: done, total: total))
    }
    read &+= a.byteEstimate
    return (areEqual, holdsNaN)
  }

  /// Weights that are not finite are no weights, whatever else the two sides have in common.
  private mutating func noteNonfinite(_ facts: PairFacts, _ name: String, _ rank: Int?) {
    let (reference, target) = facts.nonfiniteSides
    if reference || target { observe(.nonfinite(reference: reference, target: target), name, rank) }
  }

  /// Two tensors of one shape and type that are not equal.
  ///
  /// - Parameter order: that `b` was seen to hold `a` in; nil: it is looked for.
  private mutating func explain(
    _ a: Tensor, _ b: Tensor, _ name: String, rank: Int?, order: KnownOrder? = nil
  ) throws(DumpError) {
    progress(SchemaReport.Step(what: "\(name), which differs", done: read, total: total))
    let facts = try PairFacts(a, b)
    noteNonfinite(facts, name, rank)
    if let order {
      observe(.inKnownOrder(order, isTarget: true), name, rank)
    } else if facts.isSameMultiset {
      observe(try Self.order(a, b), name, rank)
    } else if facts.isTargetZero {
      observe(.zero, name, rank)
    } else if a.dtype.isFloatingPoint, a.dtype.byteCount > 1,
      let offset = facts.offset(tolerance: 4 * a.dtype.epsilon), abs(abs(offset) - 1) <= 4 * a.dtype.epsilon
    {
      observe(.offsetByOne, name, rank)
    } else {
      leaveUnexplained(name)
    }
    report.unequal.append(.init(name: name, facts))
  }

  /// How the elements of `a` were put into the order of `b`.
  private static func order(_ a: Tensor, _ b: Tensor) throws(DumpError) -> SchemaObservation {
    if let turned = a.transposed, turned.shape == b.shape, try turned.hasBytes(of: b) { return .transposed }
    for order in KnownOrder.orders(of: a.dtype) {
      if let view = order.applied(to: a), try view.hasBytes(of: b) { return .inKnownOrder(order, isTarget: true) }
      if let view = order.applied(to: b), try view.hasBytes(of: a) { return .inKnownOrder(order, isTarget: false) }
    }
    for order in KnownOrder.orders(of: a.dtype) {
      if let once = order.applied(to: a), let undone = order.undone(on: b), try once.hasBytes(of: undone) {
        return .inKnownOrderTwice(order, isTarget: true)
      }
      if let once = order.applied(to: b), let undone = order.undone(on: a), try once.hasBytes(of: undone) {
        return .inKnownOrderTwice(order, isTarget: false)
      }
    }
    if let lines = try LinePermutation.find(reference: a, target: b) { return .lines(lines.axis, lines.pattern) }
    return .otherOrder
  }

  private mutating func explainTypes(
    _ a: Tensor, _ b: Tensor, _ name: String, in baseName: String, rank: Int?
  ) throws(DumpError) {
    let scales = Self.asScale(a, b, name)
    if scales.0.dtype != a.dtype || scales.1.dtype != b.dtype, case let facts = try PairFacts(scales.0, scales.1),
      facts.unequal == 0
    {
      noteNonfinite(facts, name, rank)
      observe(.cast(scales.0.dtype, scales.1.dtype), name, rank)
      report.equalAfterCast.append(name)
      return
    }
    if a.dtype.byteCount == b.dtype.byteCount {
      var renamed = b
      renamed.dtype = a.dtype
      if try areEqual(a, renamed, name).areEqual {
        let kinds: Set<DType> = [a.dtype, b.dtype]
        if kinds == [.float8E4M3FN, .float8E4M3FNUZ] || kinds == [.float8E5M2, .float8E5M2FNUZ] {
          observe(.otherFloat8(a.dtype, b.dtype, isScaleEqual: try isScaleEqual(baseName, rank: rank)), name, rank)
        } else {
          observe(.otherType(a.dtype, b.dtype), name, rank)
        }
        return
      }
    }
    let facts = try PairFacts(a, b)
    noteNonfinite(facts, name, rank)
    if facts.unequal == 0 {
      observe(.cast(a.dtype, b.dtype), name, rank)
      report.equalAfterCast.append(name)
    } else {
      // A power of two is no rounding of another: of e8m0 nothing less is exact.
      if facts.beyondRounding == 0, ![a.dtype, b.dtype].contains(.float8E8M0FNU) {
        observe(.rounded(a.dtype, b.dtype), name, rank)
      } else {
        leaveUnexplained(name)
      }
      report.unequal.append(.init(name: name, facts))
    }
  }

  /// Whether the scale beside a weight holds the same bytes on both sides; nil where there is none.
  private func isScaleEqual(_ name: String, rank: Int?) throws(DumpError) -> Bool? {
    let stem = name.hasSuffix(".weight") ? String(name.dropLast("weight".count)) : name + "."
    for scale in [name + "_scale", name + "_scale_inv", name + ".scale", stem + "scale"] {
      let sides = (sides.reference.names.tensors[scale], sides.target.names.tensors[scale])
      guard let a = rank.map({ sides.0?[$0] }) ?? sides.0?.values.first,
        let b = rank.map({ sides.1?[$0] }) ?? sides.1?.values.first
      else { continue }
      return a.shape == b.shape && a.dtype == b.dtype ? try a.hasBytes(of: b) : false
    }
    return nil
  }

  private mutating func leaveUnexplained(_ name: String) {
    if report.unexplained.last != name { report.unexplained.append(name) }
  }

  private mutating func observe(_ what: SchemaObservation, _ name: String, _ rank: Int?) {
    let place = observations.firstIndex { $0.what == what } ?? observations.endIndex
    if place == observations.endIndex { observations.append((what, [], [])) }
    if observations[place].tensors.last != name { observations[place].tensors.append(name) }
    if let rank { observations[place].ranks.insert(rank) }
  }

  // MARK: A whole tensor with its slices

  private mutating func compareSlices(isReferenceWhole: Bool) throws(DumpError) {
    let (whole, sliced) = isReferenceWhole ? (sides.reference, sides.target) : (sides.target, sides.reference)
    var onlyWhole: [String] = []
    for name in whole.names.order {
      guard let tensor = whole.names.tensors[name]?.values.first else { continue }
      let parts = sliced.names.tensors[name] ?? [:]
      let lost = sliced.names.lost[name] ?? []
      let absent = sliced.ranks.filter { parts[$0] == nil && !lost.contains($0) }
      if absent.count == sliced.ranks.count {
        onlyWhole.append(name)
      } else {
        for rank in absent {
          onlyWhole.append("rank\(rank)/\(name)")
          noteLack(of: name, rank, "rank\(rank)/\(name)", isInTarget: isReferenceWhole)
        }
      }
      guard parts.count == sliced.ranks.count else { continue }
      report.common.append(name)
      do throws(DumpError) {
        try compare(
          name, tensor, sliced.ranks.compactMap { parts[$0] }, ranks: sliced.ranks, isReferenceWhole: isReferenceWhole)
      } catch {
        lose(error)
      }
    }
    var onlySliced: [String] = []
    for name in sliced.names.order where whole.names.tensors[name] == nil && whole.names.lost[name] == nil {
      let ranks = sliced.names.tensors[name]?.keys.sorted() ?? []
      onlySliced += ranks.count == sliced.ranks.count ? [name] : ranks.map { "rank\($0)/\(name)" }
    }
    (report.onlyReference, report.onlyTarget) =
      isReferenceWhole ? (onlyWhole, onlySliced) : (onlySliced, onlyWhole)
  }

  private mutating func compare(
    _ name: String, _ whole: Tensor, _ parts: [Tensor], ranks: [Int], isReferenceWhole: Bool
  ) throws(DumpError) {
    func mismatch(_ whole: SchemaReport.Value, _ part: SchemaReport.Value) -> SchemaReport.Mismatch {
      .init(
        name: name, reference: isReferenceWhole ? whole : part, target: isReferenceWhole ? part : whole)
    }
    guard let first = parts.first else { return }
    if let other = parts.first(where: { $0.dtype != whole.dtype }) {
      report.mismatched.append(mismatch(.dtype(whole.dtype), .dtype(other.dtype)))
    }
    let layouts = SliceLayout.candidates(whole: whole.shape, parts: parts.map(\.shape))
    guard let plainest = layouts.first else {
      return noteShapes(mismatch(.shape(whole.shape), .shape(first.shape)))
    }
    guard values != .ignore else {
      report.shards.append(.init(name: name, plainest, ranks: ranks.count, isProven: false))
      return
    }
    guard parts.allSatisfy({ $0.dtype == whole.dtype }) else {
      return try explainTypes(name, whole, parts, ranks, layouts, isReferenceWhole: isReferenceWhole)
    }
    var done = read
    let (total, progress) = (total, progress)
    for layout in layouts {
      var holdsNaN = false
      let fits = try layout.fits(whole, parts) { bytes in
        done &+= bytes.count
        holdsNaN = holdsNaN || whole.dtype.holdsNaN(bytes)
        progress(SchemaReport.Step(what: name, done: min(done, total), total: total))
      }
      guard fits else { continue }
      read &+= whole.byteEstimate
      report.shards.append(.init(name: name, layout, ranks: ranks.count, isProven: true))
      report.byteEqual.append(name)
      if holdsNaN { observe(.nonfinite(reference: true, target: true), name, nil) }
      if layout.isPlain, layout.axis == 0, ["gate_up", "w13"].contains(where: name.contains) {
        observe(.contiguousFusion, name, nil)
      }
      return
    }
    read &+= whole.byteEstimate
    try explain(name, whole, parts, ranks, layouts, isReferenceWhole: isReferenceWhole)
  }

  /// Slices of another type than the whole tensor: each is held against what it should hold.
  private mutating func explainTypes(
    _ name: String, _ whole: Tensor, _ parts: [Tensor], _ ranks: [Int], _ layouts: [SliceLayout],
    isReferenceWhole: Bool
  ) throws(DumpError) {
    // The layout by which all values agree, whatever their type; else the plainest.
    var fitting: SliceLayout?
    for layout in layouts where try Self.holdsValues(layout, whole, parts, name) {
      fitting = layout
      break
    }
    let layout = fitting ?? layouts[0]
    report.shards.append(.init(name: name, layout, ranks: ranks.count, isProven: fitting != nil))
    let known = (unequal: report.unequal.count, equal: report.equalAfterCast.count)
    var (equal, pairs) = (0, 0)
    for (place, part) in parts.enumerated() {
      for pair in layout.pairs(whole, part, rank: place) {
        let (a, b) = isReferenceWhole ? (pair.whole, pair.part) : (pair.part, pair.whole)
        pairs += 1
        if a.dtype != b.dtype {
          try explainTypes(a, b, name, in: name, rank: ranks[place])
        } else if try a.hasBytes(of: b) {
          equal += 1
        } else {
          try explain(a, b, name, rank: ranks[place])
        }
      }
    }
    // One entry a name.
    equal += report.equalAfterCast.count - known.equal
    let worst = report.unequal[known.unequal...].min { $0.cos < $1.cos || $0.cos.isNaN && !$1.cos.isNaN }
    report.unequal.removeSubrange(known.unequal...)
    report.equalAfterCast.removeSubrange(known.equal...)
    if let worst { report.unequal.append(worst) } else if equal == pairs { report.equalAfterCast.append(name) }
  }

  private static func holdsValues(
    _ layout: SliceLayout, _ whole: Tensor, _ parts: [Tensor], _ name: String
  ) throws(DumpError) -> Bool {
    for (place, part) in parts.enumerated() {
      for pair in layout.pairs(whole, part, rank: place) {
        let (a, b) = asScale(pair.whole, pair.part, name)
        guard a.shape == b.shape, try PairFacts(a, b).unequal == 0 else { return false }
      }
    }
    return true
  }

  /// Engines keep e8m0 exponents as plain bytes, too: beside a number they are read as what they are.
  private static func asScale(_ a: Tensor, _ b: Tensor, _ name: String) -> (Tensor, Tensor) {
    guard name.contains("scale") else { return (a, b) }
    var (x, y) = (a, b)
    if a.dtype == .uint8, b.dtype.isFloatingPoint { x.dtype = .float8E8M0FNU }
    if b.dtype == .uint8, a.dtype.isFloatingPoint { y.dtype = .float8E8M0FNU }
    return (x, y)
  }

  private mutating func explain(
    _ name: String, _ whole: Tensor, _ parts: [Tensor], _ ranks: [Int], _ layouts: [SliceLayout],
    isReferenceWhole: Bool
  ) throws(DumpError) {
    var chosen = layouts[0]
    var order: KnownOrder?
    for layout in layouts {
      var sources = try layout.sources(whole, parts)
      if sources == nil, isReferenceWhole {
        (sources, order) = try Self.shuffled(layout, whole, parts)
        if order != nil {
          chosen = layout
          break
        }
      }
      if let sources {
        let wrong = ranks.indices.filter { sources[$0] != $0 }
        let what: SchemaObservation =
          layout.kind == .heads ? .headMap : Set(sources).count < sources.count ? .duplicateShard : .rankOrder(sources)
        for place in wrong { observe(what, name, ranks[place]) }
        report.shards.append(.init(name: name, layout, ranks: ranks.count, isProven: false))
        report.unequal.append(.init(name: name))
        return
      }
      // A layout is right, too, where each slice has the elements that it should have.
      let pairs = layout.pairs(whole, parts[0], rank: 0)
      var isShuffled = !pairs.isEmpty
      for pair in pairs where isShuffled { isShuffled = try PairFacts(pair.whole, pair.part).isSameMultiset }
      if isShuffled {
        chosen = layout
        break
      }
    }
    report.shards.append(.init(name: name, chosen, ranks: ranks.count, isProven: false))
    if chosen.kind == .replicated {
      var differing: [Int] = []
      for (rank, part) in zip(ranks, parts).dropFirst() where try !part.hasBytes(of: parts[0]) {
        differing.append(rank)
      }
      for rank in differing { observe(.replicasDiffer, name, rank) }
      guard differing.isEmpty else { return report.unequal.append(.init(name: name)) }
      return try isReferenceWhole
        ? explain(whole, parts[0], name, rank: nil) : explain(parts[0], whole, name, rank: nil)
    }
    var worst: SchemaReport.Unequal?
    for (place, part) in parts.enumerated() {
      for pair in chosen.pairs(whole, part, rank: place) where try !pair.whole.hasBytes(of: pair.part) {
        let count = report.unequal.count
        let (a, b) = isReferenceWhole ? (pair.whole, pair.part) : (pair.part, pair.whole)
        try explain(a, b, name, rank: ranks[place], order: order)
        let new = report.unequal.removeLast()
        assert(report.unequal.count == count)
        if worst.map({ !($0.cos <= new.cos) }) ?? true { worst = new }
      }
    }
    if let worst { report.unequal.append(worst) }
  }

  /// Slices that an engine shuffled for its kernel: for each rank the rank whose slice it holds, or the order where all
  /// hold their own.
  private static func shuffled(
    _ layout: SliceLayout, _ whole: Tensor, _ parts: [Tensor]
  ) throws(DumpError) -> (sources: [Int]?, order: KnownOrder?) {
    for order in KnownOrder.orders(of: whole.dtype) {
      guard let sources = try layout.sources(whole, parts, in: order) else { continue }
      return sources == Array(parts.indices) ? (nil, order) : (sources, nil)
    }
    return (nil, nil)
  }

  // MARK: The verdict

  private mutating func conclude() {
    for side in [sides.reference, sides.target] {
      for rank in side.missingRanks where !side.isFile { observe(.ranksMissing, side.path, rank) }
    }
    for (side, lacking) in [(sides.reference, lacking.reference), (sides.target, lacking.target)] {
      for (rank, names) in lacking.sorted(by: { $0.key < $1.key }) {
        report.unreadable.append(
          Unreadable(
            file: side.path,
            why: "rank \(rank) lacks \(names.count) tensors that other ranks hold: "
              + names.prefix(8).joined(separator: ", ") + (names.count > 8 ? ", …" : "")))
        for name in names { observe(.ranksLack, name, rank) }
      }
    }
    // A name is surely missing only where every file of that side was read.
    let missing = (
      reference: sides.reference.hasLostFile ? [] : report.onlyTarget.filter { !explainedByLoss.contains($0) },
      target: sides.target.hasLostFile ? [] : report.onlyReference.filter { !explainedByLoss.contains($0) }
    )
    for name in missing.target { observe(.absent, name, nil) }
    report.findings = observations.map { $0.what.finding($0.tensors, ranks: $0.ranks) }
    let mismatched =
      values == .require ? report.mismatched.filter { !report.equalAfterCast.contains($0.name) } : report.mismatched
    let doubts = report.findings.filter { $0.confidence == .possible && $0.cause != "dtype-change" }
    let faults = report.findings.filter { $0.confidence != .possible && $0.cause != "incomplete-ranks" }
    let isAnyMissing = !missing.reference.isEmpty || !missing.target.isEmpty
    if isAnyMissing || !mismatched.isEmpty || !faults.isEmpty || values == .require && !report.unequal.isEmpty {
      report.verdict = .fail
    } else if !report.unreadable.isEmpty || report.common.isEmpty || !doubts.isEmpty || !report.unequal.isEmpty {
      report.verdict = .inconclusive
    }
  }
}

extension Tensor {
  /// Bytes of the view; for progress only, so a forged count may wrap.
  fileprivate var byteEstimate: Int { elementCount &* dtype.byteCount }
}
